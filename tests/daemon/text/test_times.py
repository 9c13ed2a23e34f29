from datetime import UTC, datetime

import pytest

from prefd.daemon.text.times import next_moment, parse_moment, shown_moment

NOW = datetime(2026, 11, 22, 12, 30, 15)


def test_a_moment_without_offset_is_local_and_with_one_is_not() -> None:
    assert parse_moment("2026-11-23 02:00") == datetime(2026, 11, 23, 2).timestamp()
    assert parse_moment("2026-11-23T02:00+01:00") == datetime(2026, 11, 23, 1, tzinfo=UTC).timestamp()
    assert shown_moment(parse_moment("2026-11-23 02:00")) == "2026-11-23 02:00"
    assert shown_moment(parse_moment("2026-11-23 02:00:07")) == "2026-11-23 02:00:07"


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
    found = next_moment(text, NOW)
    assert found == meant.astimezone()
    assert parse_moment(found.isoformat(" ", "seconds")) == meant.timestamp(), "as `prefd submit` hands it on"


@pytest.mark.parametrize("text", ["25:00", "+3y", "soon"])
def test_what_no_clock_shows_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"there is no time 25:00|expected a date and time .* 02:00, or \+3h"):
        next_moment(text, NOW)
