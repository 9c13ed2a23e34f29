import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from prefd.daemon.text.times import (
    explain_moment,
    explain_next_moment,
    format_moment,
    parse_moment,
    parse_next_moment,
    resolve_moment,
)

NOW = datetime(2026, 11, 22, 12, 30, 15)


def test_a_moment_without_offset_is_local_and_with_one_is_not() -> None:
    assert parse_moment("2026-11-23 02:00") == datetime(2026, 11, 23, 2).timestamp()
    assert parse_moment("2026-11-23T02:00+01:00") == datetime(2026, 11, 23, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("text", ["", "tomorrow", "02:00", "2026-13-01", "0001-01-01T00:00", "1" * 5000])
def test_what_is_no_moment_is_said_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a date and time such as 2026-11-23 02:00 \(local\)"):
        parse_moment(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("02:00", datetime(2026, 11, 23, 2)),
        ("12:31", datetime(2026, 11, 22, 12, 31)),
        ("+3h", datetime(2026, 11, 22, 15, 30, 15)),
        ("+ 2d", datetime(2026, 11, 24, 12, 30, 15)),
        ("2027-01-01", datetime(2027, 1, 1)),
    ],
)
def test_a_time_of_day_is_the_next_one_and_a_span_starts_now(text: str, meant: datetime) -> None:
    moment = parse_next_moment(text, NOW)
    assert moment == meant.astimezone()
    assert parse_moment(moment.isoformat(" ", "seconds")) == meant.timestamp(), "as `prefd submit` hands it on"


@pytest.mark.parametrize("text", ["25:00", "+3y", "soon"])
def test_what_no_clock_shows_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"there is no time 25:00|expected a date and time .* 02:00, or \+3h"):
        parse_next_moment(text, NOW)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The local time of a place whose clocks change, whatever this machine's is."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("2027-01-01 02:00", "2027-01-01 02:00+01:00"),
        ("2027-07-01 02:00", "2027-07-01 02:00+02:00"),
        ("2027-07-01", "2027-07-01 00:00+02:00"),
        ("2027-07-01T02:00:07", "2027-07-01 02:00:07+02:00"),
        ("2027-07-01 2:00", "2027-07-01 02:00+02:00"),
        ("2027-07-01 02:00+05:30", "2027-07-01 02:00+05:30"),
        ("2027-07-01 02:00 -5", "2027-07-01 02:00-05:00"),
        ("2027-07-01t02:00:00z", "2027-07-01 02:00+00:00"),
        ("2027-07-01 02:00 UTC", "2027-07-01 02:00+00:00"),
    ],
)
def test_a_moment_is_resolved_with_its_offset(berlin: None, text: str, resolved: str) -> None:
    assert resolve_moment(text) == resolved
    assert parse_moment(resolved) == parse_moment(text)
    assert resolve_moment(resolved) == resolved
    assert parse_moment(format_moment(parse_moment(text))) == parse_moment(text)


def test_an_hour_that_the_clocks_skip_or_repeat_is_told(berlin: None) -> None:
    now = 1_700_000_000.0
    assert explain_moment("2027-03-28 02:30", now) == [
        "2027-03-28 02:30 is not on the clocks here, which go forward then: it is taken as 2027-03-28 03:30+02:00"
    ]
    assert explain_moment("2027-10-31 02:30", now)[1:] == [
        (
            "2027-10-31 02:30 is on the clocks here twice, for they go back then: it is taken as the first, "
            "2027-10-31 02:30+02:00; the second is 2027-10-31 02:30+01:00"
        )
    ]
    assert explain_moment("2027-10-31 02:30+01:00", now) == []
    eve = datetime(2027, 3, 27, 22)
    assert explain_next_moment("02:30", eve) == [
        "02:30 is not on the clocks here, which go forward then: it is taken as 2027-03-28 03:30+02:00"
    ]
    assert parse_next_moment("+8h", eve) == datetime(2027, 3, 28, 7).astimezone(), (
        "eight hours pass, and the clock's nine"
    )


def test_the_offset_that_a_moment_was_given_is_told_and_that_it_is_over(berlin: None) -> None:
    assert explain_moment("2027-07-01 02:00", 0.0) == [
        "2027-07-01 02:00 has no offset: it is 2027-07-01 02:00+02:00, in the local time here"
    ]
    assert explain_moment("2020-07-01 02:00Z") == ["2020-07-01 02:00+00:00 is over: it holds nothing up"]


@pytest.mark.parametrize("text", ["02:00", "+3h", "02:00:00"])
def test_what_only_the_option_takes_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"a time of day alone, or [+]3h, is for `--not-before` of `prefd submit`"):
        parse_moment(text)
