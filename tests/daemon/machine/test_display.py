"""Whether somebody may be looking at the machine, by a stand-in for Core Graphics."""

import sys
from dataclasses import dataclass
from typing import Any

import pytest

from prefd.daemon.machine import display


@dataclass
class FakeGraphics:
    """Answers as Core Graphics does of a main display, or of none."""

    number: int = 1
    asleep: int = 0

    def CGMainDisplayID(self) -> int:  # noqa: N802
        return self.number

    def CGDisplayIsAsleep(self, number: Any, /) -> int:  # noqa: N802
        assert number.value == self.number
        return self.asleep


@pytest.mark.parametrize(
    ("graphics", "is_on"),
    [(FakeGraphics(), True), (FakeGraphics(asleep=1), False), (FakeGraphics(number=0), False), (None, True)],
)
def test_a_display_is_on_unless_it_sleeps_or_there_is_none(
    monkeypatch: pytest.MonkeyPatch, graphics: FakeGraphics | None, is_on: bool
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(display, "load_library", lambda: graphics)
    assert display.is_display_on() == is_on


@pytest.mark.skipif(sys.platform == "darwin", reason="there it is")
def test_elsewhere_that_cannot_be_told() -> None:
    assert display.load_library() is None
    assert display.is_display_on()
