"""A clock that stands still and dice that always fall the same, for the time that a chat template is rendered.

A template may print the date (`strftime_now`) or draw at random, and its tokens would then be others tomorrow: no cache
entry found, no checkpoint gone on from. So what templates see is put in place of Python's own: the names in the modules
that render, for the clock; the state of the `random` module, which Jinja's `random` and `lipsum` draw from.
"""

from __future__ import annotations

import datetime as datetimes
import random
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, tzinfo
from time import gmtime, strftime
from types import ModuleType, SimpleNamespace
from typing import Any

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
DATE, DATETIME = 0, 1
"""For what is no clock of Python's own, in place of an id."""
DIRECTIVE = re.compile(r"%([-_0^#]*)[EO]?(.)", re.DOTALL)


def format_moment(moment: date, form: str) -> str:
    """`moment.strftime(form)` as the C locale has it, whatever the process's own locale, time zone and system are."""
    # A plain one, of no stand-in's class: and datetime's own strftime asks the time module, which may be one itself.
    at = datetime(*moment.timetuple()[:6], getattr(moment, "microsecond", 0), getattr(moment, "tzinfo", None))

    def written(match: re.Match[str]) -> str:
        flags, directive = match.groups()
        if directive in COMPOSED:
            text = format_moment(at, COMPOSED[directive])
        elif directive == "Y":
            text = str(at.year)
        else:
            own = _words(at)
            text = own[directive] if directive in own else strftime(f"%{directive}", at.timetuple())
        if "-" in flags and text.lstrip(" ").isdigit():
            text = text.lstrip(" 0") or "0"
        elif "_" in flags and text.isdigit():
            text = (text.lstrip("0") or "0").rjust(len(text))
        elif "0" in flags and text.strip().isdigit():
            text = text.replace(" ", "0")
        return text.upper() if "^" in flags else text

    return DIRECTIVE.sub(written, form)


def _words(at: datetime) -> dict[str, str]:
    """What strftime asks the locale or the machine for."""
    half = "AM" if at.hour < 12 else "PM"
    return {
        "A": DAYS[at.weekday()],
        "a": DAYS[at.weekday()][:3],
        "B": MONTHS[at.month - 1],
        "b": MONTHS[at.month - 1][:3],
        "h": MONTHS[at.month - 1][:3],
        "p": half,
        "P": half.lower(),
        "e": f"{at.day:2}",
        "k": f"{at.hour:2}",
        "l": f"{at.hour % 12 or 12:2}",
        "s": str(int(at.replace(tzinfo=UTC).timestamp())),
        "f": f"{at.microsecond:06}",
        "Z": at.tzname() or "",
        "z": (at.isoformat()[-6:].replace(":", "") if at.tzinfo else ""),
        "n": "\n",
        "t": "\t",
    }


class Clock:
    """Stands at `moment`, and remembers whether anybody looked, or drew at random."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment
        self.was_read = False
        self.was_drawn_from = False
        self._stand_ins = _stand_ins(self)

    def read(self) -> datetime:
        self.was_read = True
        return self.moment

    @contextmanager
    def in_place(self, modules: Iterable[str]) -> Iterator[None]:
        """Inside, the loaded ones of `modules` see this clock, and `random` draws the same each time."""
        replaced = []
        state = random.getstate()
        random.seed(0)
        seeded = random.getstate()
        try:
            for module in filter(None, map(sys.modules.get, modules)):
                for name, value in self._clocks_in(module):
                    replaced.append((module, name, value))
                    setattr(module, name, self._stand_in(value))
            yield
        finally:
            for module, name, value in replaced:
                setattr(module, name, value)
            self.was_drawn_from |= random.getstate() != seeded
            random.setstate(state)

    def _clocks_in(self, module: ModuleType) -> list[tuple[str, Any]]:
        """The names of `module` that tell the time, also where something else stands in for Python's already."""
        return [
            (name, value)
            for name, value in vars(module).items()
            if id(value) in self._stand_ins
            or (isinstance(value, type) and issubclass(value, date))
            or (name == "datetime" and hasattr(value, "now"))
        ]

    def _stand_in(self, value: Any) -> Any:
        known = self._stand_ins.get(id(value))
        return self._stand_ins[DATETIME if hasattr(value, "now") else DATE] if known is None else known


def _stand_ins(clock: Clock) -> dict[int, Any]:
    """What is put in the place of each of Python's clocks, by the clock's id."""
    classes, functions = _classes(clock), _functions(clock)
    return {
        id(datetimes): _stand_in_module(datetimes, classes),
        id(time): _stand_in_module(time, functions),
        DATE: classes["date"],
        DATETIME: classes["datetime"],
        **{id(getattr(datetimes, name)): stand_in for name, stand_in in classes.items()},
        **{id(getattr(time, name)): stand_in for name, stand_in in functions.items()},
    }


def _classes(clock: Clock) -> dict[str, type[date]]:
    """What stands in for the classes of `datetime`, by their names."""

    class StillDate(date):
        @classmethod
        def today(cls) -> StillDate:
            now = clock.read()
            return cls(now.year, now.month, now.day)

        def strftime(self, format: str) -> str:  # noqa: A002  # Python's own name for it
            return format_moment(self, format)

    class StillDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> StillDatetime:
            now = clock.read()
            return cls(*now.timetuple()[:6], now.microsecond, tzinfo=tz)

        @classmethod
        def today(cls) -> StillDatetime:
            return cls.now()

        @classmethod
        def utcnow(cls) -> StillDatetime:
            return cls.now()

        def strftime(self, format: str) -> str:  # noqa: A002  # Python's own name for it
            return format_moment(self, format)

    return {"date": StillDate, "datetime": StillDatetime}


def _functions(clock: Clock) -> dict[str, Callable[..., Any]]:
    """What stands in for the functions of `time`, by their names."""

    def seconds() -> float:
        return clock.read().replace(tzinfo=UTC).timestamp()

    def split(at: float | None = None) -> time.struct_time:
        return gmtime(seconds() if at is None else at)

    def written(form: str, at: Any = None) -> str:
        return format_moment(datetime(*(split() if at is None else at)[:6]), form)

    def ctime(at: float | None = None) -> str:
        return written(COMPOSED["c"], split(at))

    return {
        "time": seconds,
        "time_ns": lambda: int(seconds() * 1e9),
        "localtime": split,
        "gmtime": split,
        "strftime": written,
        "ctime": ctime,
        "asctime": lambda at=None: written(COMPOSED["c"], at),
    }


def _stand_in_module(module: ModuleType, changed: dict[str, Any]) -> SimpleNamespace:
    return SimpleNamespace(**vars(module) | changed)
