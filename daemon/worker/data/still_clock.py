"""Stops the clock and seeds the dice while a chat template is rendered, so that it gives the same text every day.

A template may print the date (`strftime_now`) or draw at random, and its tokens would then be others tomorrow: no cache
entry found, no checkpoint gone on from. So what templates see is put in place of Python's own: the names in the modules
that render, for the clock and what else is around a template (`surroundings.py`); the state of the `random` module, which
Jinja's `random` and `lipsum` draw from. Only the thread that renders sees it.
"""

from __future__ import annotations

import datetime as datetimes
import random
import re
import sys
import time
from calendar import timegm
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, tzinfo
from threading import RLock, get_ident
from time import gmtime, strftime
from types import ModuleType, SimpleNamespace
from typing import Any

from prefd.daemon.worker.data.surroundings import Asker, still_surroundings

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
COMPOSED = {
    "c": "%a %b %e %H:%M:%S %Y",
    "x": "%m/%d/%y",
    "X": "%H:%M:%S",
    "r": "%I:%M:%S %p",
    "D": "%m/%d/%y",
    "T": "%H:%M:%S",
    "R": "%H:%M",
    "F": "%Y-%m-%d",
}
STOPWATCHES = ("monotonic", "perf_counter", "process_time", "thread_time")
RENDERING = RLock()
"""Held while a template is rendered: what stands in is put into modules that all threads share."""
DIRECTIVE = re.compile(r"%([-_0^#]*)[EO]?(.)", re.DOTALL)


def format_moment(moment: date, form: str) -> str:
    """Formats as `moment.strftime(form)` in the C locale, whatever the process's own locale, time zone and system."""
    # A plain one, of no stand-in's class: and datetime's own strftime asks the time module, which may be one itself.
    plain_moment = datetime(*moment.timetuple()[:6], getattr(moment, "microsecond", 0), getattr(moment, "tzinfo", None))

    def write_directive(match: re.Match[str]) -> str:
        flags, directive = match.groups()
        if directive in COMPOSED:
            text = format_moment(plain_moment, COMPOSED[directive])
        elif directive in "YG":  # of four digits also where the C library writes fewer, as newer Pythons have it
            text = f"{plain_moment.year if directive == 'Y' else plain_moment.isocalendar().year:04}"
        else:
            words = _locale_words(plain_moment)
            text = words[directive] if directive in words else strftime(f"%{directive}", plain_moment.timetuple())
        if "-" in flags and text.lstrip(" ").isdigit():
            text = text.lstrip(" 0") or "0"
        elif "_" in flags and text.isdigit():
            text = (text.lstrip("0") or "0").rjust(len(text))
        elif "0" in flags and text.strip().isdigit():
            text = text.replace(" ", "0")
        return text.upper() if "^" in flags else text

    return DIRECTIVE.sub(write_directive, form)


def _locale_words(moment: datetime) -> dict[str, str]:
    """Gives each directive for which strftime asks the locale or the machine."""
    half = "AM" if moment.hour < 12 else "PM"
    return {
        "A": DAYS[moment.weekday()],
        "a": DAYS[moment.weekday()][:3],
        "B": MONTHS[moment.month - 1],
        "b": MONTHS[moment.month - 1][:3],
        "h": MONTHS[moment.month - 1][:3],
        "p": half,
        "P": half.lower(),
        "e": f"{moment.day:2}",
        "k": f"{moment.hour:2}",
        "l": f"{moment.hour % 12 or 12:2}",
        "s": str(int(moment.replace(tzinfo=UTC).timestamp())),
        "f": f"{moment.microsecond:06}",
        "Z": moment.tzname() or "",
        "z": (moment.isoformat()[-6:].replace(":", "") if moment.tzinfo else ""),
        "n": "\n",
        "t": "\t",
    }


class Clock:
    """Stands at `moment`, and records whether a template read it, drew at random, or asked for its surroundings."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment
        self.was_read = False
        self.was_drawn_from = False
        self.were_surroundings_read = False
        self._asker = Asker()
        self._of_modules = _stand_ins(self, self._asker) | still_surroundings(self._asker, self._tell)
        self._of_values = _by_value(self._of_modules)

    def read(self) -> datetime:
        """Gives `moment`, and records that it was read."""
        self.was_read = True
        return self.moment

    def _tell(self) -> None:
        self.were_surroundings_read = True

    @contextmanager
    def in_place(self, modules: Iterable[str]) -> Iterator[None]:
        """Shows this thread the clock in the loaded ones of `modules`, and lets `random` draw the same each time."""
        replaced: list[tuple[ModuleType, str, Any]] = []
        with RENDERING:
            state = random.getstate()
            random.seed(0)
            seeded = random.getstate()
            try:
                for module in filter(None, map(sys.modules.get, modules)):
                    for name, stand_in in self._stand_ins_in(module):
                        replaced.append((module, name, getattr(module, name)))
                        setattr(module, name, stand_in)
                self._asker.thread = get_ident()
                yield
            finally:
                self._asker.thread = None
                for module, name, value in reversed(replaced):
                    setattr(module, name, value)
                self.was_drawn_from |= random.getstate() != seeded
                random.setstate(state)

    def _stand_ins_in(self, module: ModuleType) -> list[tuple[str, Any]]:
        """Says what is put into `module`, by name: of one that tells something, its own; of another, what it has from those."""
        if module in self._of_modules:
            return list(self._of_modules[module].items())
        return [
            (name, stand_in)
            for name, value in vars(module).items()
            if (stand_in := self._stand_in(name, value)) is not None
        ]

    def _stand_in(self, name: str, value: Any) -> Any:
        """Says what stands in for `value`, also where something else stands in for a clock of Python's already."""
        stand_in = self._of_values.get(id(value))
        if stand_in is None and (
            (isinstance(value, type) and issubclass(value, date)) or (name == "datetime" and hasattr(value, "now"))
        ):
            classes = self._of_modules[datetimes]
            return classes["datetime" if hasattr(value, "now") else "date"]
        return stand_in


def _stand_ins(clock: Clock, asker: Asker) -> dict[ModuleType, dict[str, Any]]:
    """Says what is put in the place of each of Python's clocks, by its module and name."""
    classes = {"date": _still_date(clock, asker), "datetime": _still_datetime(clock, asker)}
    return {datetimes: classes, time: _still_time(clock, asker)}


class _InCLocale(date):
    """A date that is written as the C locale has it, whatever the process's own locale and system are."""

    def strftime(self, format: str) -> str:  # noqa: A002  # Python's own name for it
        return format_moment(self, format)


def _still_date(clock: Clock, asker: Asker) -> type[date]:
    """Says what stands in for `datetime.date`."""

    class StillDate(_InCLocale):
        @classmethod
        def today(cls) -> StillDate:
            if not asker.is_template():
                return super().today()
            now = clock.read()
            return cls(now.year, now.month, now.day)

        @classmethod
        def fromtimestamp(cls, timestamp: float, /) -> StillDate:
            return cls(*gmtime(timestamp)[:3]) if asker.is_template() else super().fromtimestamp(timestamp)

    return StillDate


def _still_datetime(clock: Clock, asker: Asker) -> type[datetime]:
    """Says what stands in for `datetime.datetime`."""

    class StillDatetime(_InCLocale, datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> StillDatetime:
            if not asker.is_template():
                return super().now(tz)
            now = clock.read()
            return cls(*now.timetuple()[:6], now.microsecond, tzinfo=tz)

        @classmethod
        def today(cls) -> StillDatetime:
            return cls.now()

        @classmethod
        def utcnow(cls) -> StillDatetime:
            return cls.now() if asker.is_template() else cls.now(UTC).replace(tzinfo=None)

        @classmethod
        def fromtimestamp(cls, timestamp: float, tz: tzinfo | None = None) -> StillDatetime:
            if tz is not None or not asker.is_template():
                return super().fromtimestamp(timestamp, tz)
            return super().fromtimestamp(timestamp, UTC).replace(tzinfo=None)

        def astimezone(self, tz: tzinfo | None = None) -> StillDatetime:
            if not asker.is_template():
                return super().astimezone(tz)
            return datetime.astimezone(self if self.tzinfo else self.replace(tzinfo=UTC), tz or UTC)

        def timestamp(self) -> float:
            aware = self.tzinfo is not None or not asker.is_template()
            return super().timestamp() if aware else datetime.timestamp(self.replace(tzinfo=UTC))

    return StillDatetime


def _still_time(clock: Clock, asker: Asker) -> dict[str, Any]:
    """Says what stands in for the functions and constants of `time`, by their names."""

    def seconds() -> float:
        return clock.read().replace(tzinfo=UTC).timestamp()

    def nanoseconds() -> int:
        return int(seconds() * 1e9)

    def split_time(time_value: float | None = None) -> time.struct_time:
        return gmtime(seconds() if time_value is None else time_value)

    def write_time(form: str, time_value: Any = None) -> str:
        return format_moment(datetime(*(split_time() if time_value is None else time_value)[:6]), form)

    functions: dict[str, Callable[..., Any]] = {
        "time": seconds,
        "time_ns": nanoseconds,
        "clock_gettime": lambda clock_id: seconds(),
        "clock_gettime_ns": lambda clock_id: nanoseconds(),
        **dict.fromkeys(STOPWATCHES, seconds),
        **{f"{name}_ns": nanoseconds for name in STOPWATCHES},
        "localtime": split_time,
        "gmtime": split_time,
        "mktime": timegm,
        "strftime": write_time,
        "ctime": lambda time_value=None: write_time(COMPOSED["c"], split_time(time_value)),
        "asctime": lambda time_value=None: write_time(COMPOSED["c"], time_value),
    }
    stand_ins = {
        name: asker.choose(getattr(time, name), function) for name, function in functions.items() if hasattr(time, name)
    }
    zone = {"timezone": 0, "altzone": 0, "daylight": 0, "tzname": ("UTC", "UTC")}
    return stand_ins | zone


def _by_value(of_modules: Mapping[ModuleType, Mapping[str, Any]]) -> dict[int, Any]:
    """Says what stands in for each module, class, function and mapping that has a stand-in, by its id."""
    stand_ins_by_id: dict[int, Any] = {}
    for module, stand_ins in of_modules.items():
        stand_ins_by_id[id(module)] = SimpleNamespace(**{**vars(module), **stand_ins})
        for name, stand_in in stand_ins.items():
            if callable(stand_in) or isinstance(stand_in, MutableMapping):  # a number's id is that of all such numbers
                stand_ins_by_id[id(getattr(module, name))] = stand_in
    return stand_ins_by_id
