"""The page's benchmark reads the points that another tool's server sent, and says what of the planted is among them."""

from __future__ import annotations

import importlib
import json
import sys
from types import ModuleType

import pytest

from support.paths import ROOT

STEPS = 100_000


@pytest.fixture
def sent_points(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    return importlib.import_module("pages.sent_points")


def test_rows_of_trackio_are_found_wherever_they_lie_in_an_answer(sent_points: ModuleType) -> None:
    answer = json.dumps({"data": [[{"logs": [{"step": 42_917, "loss": 9.5, "grad_norm": 1}, {"step": 2}]}]]})
    points = sent_points.read_trackio(["no JSON", "[]", answer])
    assert points == {42_917: 9.5}
    assert sent_points.describe_spikes(points, STEPS) == (
        "1 of 2 sent, drawn as any point: 1 of 100,000 points, the largest 9.50"
    )


def test_a_value_that_happens_to_be_as_high_at_another_step_is_no_planted_spike(sent_points: ModuleType) -> None:
    points = sent_points.read_tensorboard(["[[1.0, 7, 9.5], [2.0, 60000, NaN]]"])
    assert sent_points.describe_spikes(points, STEPS).startswith("0 of 2 sent: 2 of 100,000 points")
    assert sent_points.describe_not_finite(points, STEPS) == "1 of 3 sent, drawn as nothing"
