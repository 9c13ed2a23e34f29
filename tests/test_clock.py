"""The clock that templates see: the same text in every locale, time zone and process."""

from __future__ import annotations

import locale
import random
import sys
import time
from datetime import date, datetime
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.worker.clock import Clock, format_moment

MOMENT = datetime(2024, 7, 6, 9, 5, 3)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("%d %b %Y", "06 Jul 2024"),
        ("%-d %B %Y, %-I %p", "6 July 2024, 9 AM"),
        ("%A %a %e|%_d|%k|%l|%y|%j|%%d", "Saturday Sat  6| 6| 9| 9|24|188|%d"),
        ("%c", "Sat Jul  6 09:05:03 2024"),
        ("%x %X %r %D %T %R %F", "07/06/24 09:05:03 09:05:03 AM 07/06/24 09:05:03 09:05 2024-07-06"),
        ("%^a %P %s %Z%z", "SAT am 1720256703 "),
        ("kein Datum", "kein Datum"),
    ],
)
def test_a_moment_is_written_as_in_the_c_locale(form: str, expected: str) -> None:
    assert format_moment(MOMENT, form) == expected


def test_neither_locale_nor_time_zone_changes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    current = locale.setlocale(locale.LC_ALL)
    names = [name for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8") if _has_locale(name)]
    before = format_moment(MOMENT, "%A %B %c %s %p")
    for name in names:
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "Pacific/Kiritimati")
            time.tzset()
            locale.setlocale(locale.LC_ALL, name)
            try:
                assert format_moment(MOMENT, "%A %B %c %s %p") == before
            finally:
                locale.setlocale(locale.LC_ALL, current)
    time.tzset()


def _has_locale(name: str) -> bool:
    current = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        return False
    finally:
        locale.setlocale(locale.LC_ALL, current)
    return True


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Python code that asks for the time in every way."""
    module = ModuleType("prefd_test_template")
    source = """
import datetime, time
from datetime import date, datetime as dt
from time import strftime
def locally():
    import time
    from datetime import datetime
    return [datetime.now().isoformat(), time.strftime("%H:%M"), time.gmtime().tm_hour]
def every():
    return [
        dt.now().isoformat(), dt.utcnow().isoformat(), dt.today().isoformat(), datetime.datetime.now().strftime("%A"),
        datetime.date.today().isoformat(), date.today().strftime("%d.%m."), strftime("%H:%M"), time.strftime("%Y"),
        time.time(), time.localtime().tm_hour, time.gmtime()[:3], time.ctime(), time.asctime(), dt(2020, 1, 2).year,
    ]
"""
    exec(source, vars(module))  # noqa: S102  # our own
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_every_clock_of_pythons_stands_still(module: ModuleType) -> None:
    clock = Clock(MOMENT)
    with clock.in_place([module.__name__, "no.such.module"]):
        seen = module.every()
    assert seen == [
        *["2024-07-06T09:05:03"] * 3,
        "Saturday",
        "2024-07-06",
        "06.07.",
        "09:05",
        "2024",
        1720256703.0,
        9,
        (2024, 7, 6),
        *["Sat Jul  6 09:05:03 2024"] * 2,
        2020,
    ]
    assert clock.was_read
    assert module.date is date
    assert module.strftime is time.strftime


def test_what_is_imported_as_it_runs_stands_still_too(module: ModuleType) -> None:
    with Clock(MOMENT).in_place([module.__name__, "datetime", "time"]):
        assert module.locally() == ["2024-07-06T09:05:03", "09:05", 9]
    assert time.gmtime(0).tm_year == 1970
    assert abs(time.time() - datetime.now().timestamp()) < 60


def test_draws_are_the_same_each_time_and_leave_no_trace(module: ModuleType) -> None:
    random.seed(7)
    expected = random.Random(7).random()
    clock = Clock(MOMENT)
    with clock.in_place([module.__name__]):
        pass
    assert not clock.was_drawn_from
    draws = []
    for _ in range(2):
        with clock.in_place([module.__name__]):
            draws.append(random.random())
    assert draws[0] == draws[1]
    assert clock.was_drawn_from
    assert random.random() == expected


def test_a_failure_inside_puts_everything_back(module: ModuleType) -> None:
    with pytest.raises(KeyError), Clock(MOMENT).in_place([module.__name__]):
        raise KeyError
    assert module.date is date


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)),
    st.sampled_from("aAbBdeFGgHIjlmMnpSTuUVwWxXyYZcrDRfhC%"),
    st.sampled_from(["", "-", "_", "0"]),
)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="flags are glibc's")
def test_a_moment_is_written_as_pythons_own_strftime_does(moment: datetime, directive: str, flag: str) -> None:
    form = f"%{directive}" if directive in "cxXrDTRFfZ%" else f"%{flag}{directive}"
    assert format_moment(moment, form) == moment.strftime(form)
