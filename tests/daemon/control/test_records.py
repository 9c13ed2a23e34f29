"""What a JSON object must be to become a dataclass, and the field that is named where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from prefd.daemon.control.records import RecordError, read_record


@dataclass(frozen=True)
class Part:
    size: float
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Whole:
    name: str
    part: Part
    parts: list[Part] = field(default_factory=list)
    counts: Mapping[Literal["x", "y"], int] = field(default_factory=dict)
    folder: tuple[int, int] | None = None
    after: tuple[int, ...] = ()
    extra: Any = None


GOOD: dict[str, Any] = {
    "name": "n",
    "part": {"size": 1, "kind": "b"},
    "parts": [{"size": 0.5}],
    "counts": {"x": 3},
    "folder": [7, 8],
    "after": [1, 2, 3],
    "extra": {"any": ["thing"]},
}


def test_each_field_has_its_type() -> None:
    whole = read_record(Whole, GOOD | {"newer": 1})
    assert whole == Whole("n", Part(1, "b"), [Part(0.5)], {"x": 3}, (7, 8), (1, 2, 3), {"any": ["thing"]})
    assert read_record(Whole, {"name": "n", "part": {"size": 1}}) == Whole("n", Part(1))


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"name": 3}, "name"),
        ({"name": None}, "name"),
        ({"part": {}}, "part.size"),
        ({"part": "x"}, "part"),
        ({"part": {"size": True}}, "part.size"),
        ({"part": {"size": 1, "kind": "c"}}, "part.kind"),
        ({"parts": [{"size": 1}, {"size": "big"}]}, "parts.1.size"),
        ({"parts": {"size": 1}}, "parts"),
        ({"counts": {"z": 1}}, "counts.z"),
        ({"counts": {"x": 1.5}}, "counts.x"),
        ({"folder": [1]}, "folder"),
        ({"folder": "12"}, "folder"),
    ],
    ids=str,
)
def test_the_field_that_cannot_be_read_is_named(change: dict[str, Any], place: str) -> None:
    with pytest.raises(RecordError) as caught:
        read_record(Whole, GOOD | change)
    assert caught.value.place == place
