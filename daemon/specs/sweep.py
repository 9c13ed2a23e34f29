"""`sweep:` in a spec: lists of values for settings, and the specs of all their combinations. Pure.

    sweep: {loss.beta: [0.05, 0.1], loss.name: [sigmoid, ipo]}

The order is that of the file, the last setting changing fastest, so that a sweep's third job is the same one each time.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prefd.daemon.text.wording import Path, clip, kind, shown

KEY = "sweep"
MAX_JOBS = 256
MAX_TEXT = 4 * 1024 * 1024
"""Characters of all the specs of a sweep together; one has about a thousand."""
OWN = ("name", "group", KEY)
"""What a sweep says of its jobs itself."""

Axes = Mapping[str, list[Any]]
"""The values of each swept setting, by dotted name."""


class SweepError(ValueError):
    """A sweep that cannot be expanded: the message names the setting, and says what to do."""


@dataclass(frozen=True)
class Combination:
    """One job of a sweep: its spec, and what it sets."""

    document: dict[str, Any]
    settings: Mapping[str, Any]

    def describe(self) -> str:
        """`loss.beta 0.05, loss.name ipo`."""
        return ", ".join(f"{name} {_text(value)}" for name, value in self.settings.items())


def axes_of(value: Any) -> Axes:
    """What a spec's `sweep:` holds: dotted names, or blocks within blocks. Raises SweepError."""
    if not isinstance(value, Mapping):
        raise SweepError(f"{KEY}: expected settings with lists of values, got {kind(value)}")
    axes = dict(_axes(value, ""))
    if not axes:
        raise SweepError(f"{KEY}: names no setting; leave it out for one job")
    for name, values in axes.items():
        if name.partition(".")[0] in OWN:
            raise SweepError(f"{KEY}.{clip(name)}: cannot be swept: the jobs are named and grouped by the sweep")
        if outer := next((each for each in axes if name.startswith(f"{each}.")), None):
            raise SweepError(f"{KEY}.{clip(name)}: {clip(outer)} is swept too, and sets it; give one of them")
        texts = [json.dumps(each) for each in values]
        if twice := next((each for at, each in enumerate(texts) if each in texts[:at]), None):
            raise SweepError(f"{KEY}.{clip(name)}: {clip(twice)} is given twice")
    count = math.prod(len(values) for values in axes.values())
    if count > MAX_JOBS:
        lengths = " × ".join(str(len(values)) for values in axes.values())
        raise SweepError(
            f"{KEY}: {clip(lengths, 100)} = {clip(f'{count:,}', 40)} combinations; at most {MAX_JOBS}: sweep in several specs"
        )
    return axes


def expand(document: Mapping[str, Any], axes: Axes) -> Iterator[Combination]:
    """`document` with each combination of values in `axes`.

    Raises SweepError where there is no place for one, or where they are too much to hold.
    """
    count = math.prod(len(values) for values in axes.values())
    if count * len(json.dumps(document)) > MAX_TEXT:
        raise SweepError(
            f"{KEY}: {count:,} combinations of a spec this long; sweep fewer values, or shorten their lists"
        )
    for values in itertools.product(*axes.values()):
        made = copy.deepcopy({name: value for name, value in document.items() if name != KEY})
        settings = dict(zip(axes, values))
        for name, value in settings.items():
            _put(made, name, value)
        yield Combination(made, settings)


def swept_lines(lines: Mapping[Path, int]) -> dict[Path, int]:
    """Where the swept settings are in the file, as if each stood at its place in the spec."""
    named = {
        tuple(part for part in path[1:] if isinstance(part, str)): at for path, at in lines.items() if path[0] == KEY
    }
    return {tuple(".".join(path).split(".")): at for path, at in named.items() if path}


def value_at(document: Mapping[str, Any], name: str) -> Any:
    """The setting called `name` (dotted) in `document`."""
    value: Any = document
    for part in name.split("."):
        value = value[part]
    return value


def unique(values: Iterable[Any]) -> list[Any]:
    """Each value once, in the order of its first."""
    return list({json.dumps(value): value for value in values}.values())


def _axes(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, list[Any]]]:
    for key, each in value.items():
        name = f"{prefix}{key}"
        if isinstance(each, Mapping) and each:
            yield from _axes(each, f"{name}.")
        elif isinstance(each, list) and each:
            yield name, each
        else:
            raise SweepError(
                f"{KEY}.{clip(name)}: expected a list of values, got {shown(each) if each != [] else 'none'}"
            )


def _put(document: dict[str, Any], name: str, value: Any) -> None:
    *above, last = name.split(".")
    block = document
    for part in above:
        if block.get(part) is None:
            block[part] = {}
        block = block[part]
        if not isinstance(block, dict):
            raise SweepError(
                f"{KEY}.{clip(name)}: {clip(part)} is {kind(block)} in this spec, without settings of its own"
            )
    block[last] = value


def _text(value: Any) -> str:
    return clip(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 80)
