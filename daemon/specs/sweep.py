"""Expands `sweep:` in a spec, lists of values for settings, to the specs of all their combinations. Pure.

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

from prefd.daemon.text.text_fault import Position, Positions, TextFault
from prefd.daemon.text.wording import Path, clip, format_value, name_type

KEY = "sweep"
MAX_JOBS = 256
MAX_TEXT = 4 * 1024 * 1024
"""Characters of all the specs of a sweep together; one has about a thousand."""
OWN = ("name", "group", KEY)
"""What a sweep says of its jobs itself."""

Axes = Mapping[str, list[Any]]
"""The values of each swept setting, by dotted name."""


class SweepError(ValueError):
    """The sweep cannot be expanded. `fault` names the setting, and says what to do."""

    def __init__(self, message: str, setting: str = "") -> None:
        self.fault = TextFault(message, f"{KEY}.{clip(setting)}" if setting else KEY)
        super().__init__(str(self.fault))


@dataclass(frozen=True)
class Combination:
    """Combination is one job of a sweep: its spec, and what it sets."""

    document: dict[str, Any]
    settings: Mapping[str, Any]

    def describe(self) -> str:
        """Describes what it sets, as `loss.beta 0.05, loss.name ipo`."""
        return ", ".join(f"{name} {_format_setting(value)}" for name, value in self.settings.items())


def read_axes(value: Any) -> Axes:
    """Reads the axes in a spec's `sweep:`: dotted names, or blocks within blocks. Raises SweepError."""
    if not isinstance(value, Mapping):
        raise SweepError(f"expected settings with lists of values, got {name_type(value)}")
    axes = dict(_iterate_axes(value, ""))
    if not axes:
        raise SweepError("names no setting; leave it out for one job")
    for name, values in axes.items():
        if name.partition(".")[0] in OWN:
            raise SweepError("cannot be swept: the jobs are named and grouped by the sweep", name)
        if outer := next((each for each in axes if name.startswith(f"{each}.")), None):
            raise SweepError(f"{clip(outer)} is swept too, and sets it; give one of them", name)
        texts = [json.dumps(each) for each in values]
        if repeated := next((each for index, each in enumerate(texts) if each in texts[:index]), None):
            raise SweepError(f"{clip(repeated)} is given twice", name)
    count = math.prod(len(values) for values in axes.values())
    if count > MAX_JOBS:
        lengths = " × ".join(str(len(values)) for values in axes.values())
        raise SweepError(
            f"{clip(lengths, 100)} = {clip(f'{count:,}', 40)} combinations; at most {MAX_JOBS}: sweep in several specs"
        )
    return axes


def expand_sweep(document: Mapping[str, Any], axes: Axes) -> Iterator[Combination]:
    """Yields `document` with each combination of values in `axes`.

    Raises SweepError where there is no place for one, or where they are too much to hold.
    """
    count = math.prod(len(values) for values in axes.values())
    if count * len(json.dumps(document)) > MAX_TEXT:
        raise SweepError(f"{count:,} combinations of a spec this long; sweep fewer values, or shorten their lists")
    for values in itertools.product(*axes.values()):
        combined = copy.deepcopy({name: value for name, value in document.items() if name != KEY})
        settings = dict(zip(axes, values))
        for name, value in settings.items():
            _set_value(combined, name, value)
        yield Combination(combined, settings)


def find_swept_positions(positions: Positions) -> dict[Path, Position]:
    """Finds where the swept settings are in the file, as if each stood at its place in the spec."""
    positions_by_path: dict[tuple[str, ...], Position] = {}
    for path, position in positions.items():
        if path[0] == KEY:
            positions_by_path.setdefault(tuple(part for part in path[1:] if isinstance(part, str)), position)
    return {tuple(".".join(path).split(".")): position for path, position in positions_by_path.items() if path}


def get_value(document: Mapping[str, Any], name: str) -> Any:
    """Returns the setting called `name` (dotted) in `document`."""
    value: Any = document
    for part in name.split("."):
        value = value[part]
    return value


def drop_duplicates(values: Iterable[Any]) -> list[Any]:
    """Returns each value once, in the order of its first."""
    return list({json.dumps(value): value for value in values}.values())


def _iterate_axes(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, list[Any]]]:
    for key, each in value.items():
        name = f"{prefix}{key}"
        if isinstance(each, Mapping) and each:
            yield from _iterate_axes(each, f"{name}.")
        elif isinstance(each, list) and each:
            yield name, each
        else:
            raise SweepError(f"expected a list of values, got {format_value(each) if each != [] else 'none'}", name)


def _set_value(document: dict[str, Any], name: str, value: Any) -> None:
    *above, last = name.split(".")
    block = document
    for part in above:
        if block.get(part) is None:
            block[part] = {}
        block = block[part]
        if not isinstance(block, dict):
            raise SweepError(f"{clip(part)} is {name_type(block)} in this spec, without settings of its own", name)
    block[last] = value


def _format_setting(value: Any) -> str:
    return clip(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 80)
