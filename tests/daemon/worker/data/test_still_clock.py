"""The clock that templates see: the same text in every locale, time zone and process."""

from __future__ import annotations

import datetime as datetimes
import importlib
import locale
import os
import random
import sys
import threading
import time
from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.worker.data.still_clock import Clock, format_moment

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


@pytest.mark.parametrize(
    ("form", "expected"), [("%Y", "0001"), ("%-Y", "1"), ("%_Y", "   1"), ("%G", "0001"), ("%F", "0001-01-02")]
)
def test_a_year_has_four_digits_in_every_c_library(form: str, expected: str) -> None:
    assert format_moment(datetime(1, 1, 2), form) == expected


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


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/St_Johns"])
def test_no_time_zone_decides_what_a_clock_says(module: ModuleType, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    source = """
def zoned():
    import time
    now = dt.now()
    return [
        now.astimezone().isoformat(), now.astimezone().strftime("%Z %z"), now.timestamp(), dt.fromtimestamp(0).isoformat(),
        date.fromtimestamp(0).isoformat(), time.localtime(0).tm_hour, time.mktime(time.gmtime(0)), time.tzname[0],
        time.timezone, time.strftime("%Z|%z"), time.ctime(0), time.monotonic(), time.perf_counter_ns() % 10,
        time.clock_gettime(time.CLOCK_REALTIME),
    ]
"""
    exec(source, vars(module))  # noqa: S102  # our own
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        try:
            with Clock(MOMENT).in_place([module.__name__, "datetime", "time"]):
                seen = module.zoned()
        finally:
            patch.undo()
            time.tzset()
    assert seen == [
        *["2024-07-06T09:05:03+00:00", "UTC +0000", 1720256703.0, "1970-01-01T00:00:00"],
        *["1970-01-01", 0, 0, "UTC", 0, "|", "Thu Jan  1 00:00:00 1970", 1720256703.0, 0, 1720256703.0],
    ]


def test_other_threads_see_what_there_is(module: ModuleType) -> None:
    looks: list[Any] = []

    def look() -> None:
        looks.append([time.time(), datetimes.datetime.now().year, datetimes.date.today().year, os.getpid()])
        looks.append([dict(os.environ), os.urandom(8)])

    with Clock(MOMENT).in_place([module.__name__, "datetime", "time", "os", "random"]):
        assert (time.time(), os.getpid(), dict(os.environ)) == (1720256703.0, 1, {})
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    (now, *years, process), (environment, drawn) = looks
    assert abs(now - time.time()) < 60
    assert years == [datetime.now().year] * 2
    assert process == os.getpid() != 1
    assert environment == dict(os.environ) != {}
    assert drawn != random.Random(0).randbytes(8)


def test_two_threads_do_not_render_at_once(module: ModuleType) -> None:
    steps: list[str] = []

    def render(name: str) -> None:
        with Clock(MOMENT).in_place([module.__name__, "datetime", "time", "os"]):
            steps.extend([f"{name} begins", os.environ.get("PATH", "none")])
            threading.Event().wait(0.05)
            steps.append(f"{name} ends")

    threads = [threading.Thread(target=render, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [step.split()[1:] for step in steps] == [["begins"], [], ["ends"]] * 2
    assert steps[1::3] == ["none"] * 2
    assert steps[0][0] == steps[2][0]
    assert os.environ["PATH"]


def test_what_a_template_writes_into_the_environment_stays_there_for_nobody() -> None:
    with Clock(MOMENT).in_place(["os"]):
        os.environ["PREFD_TEST"] = "1"
        assert os.getenv("PREFD_TEST") is None
        assert "PREFD_TEST" not in os.environ
    assert "PREFD_TEST" not in os.environ


def test_a_module_that_is_imported_only_now_reads_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prefd_late.py").write_text(
        "import os, time\nPATH, YEAR = os.environ.get('PATH'), time.gmtime().tm_year\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with Clock(MOMENT).in_place(["os", "time"]):
        late = importlib.import_module("prefd_late")
        assert os.environ.get("PATH") is None
    assert os.environ["PATH"] == late.PATH
    assert datetime.now(UTC).year == late.YEAR


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
