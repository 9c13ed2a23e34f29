"""What runs together without changing a bit: tried once for each kernel and shape of model, and kept on the machine."""

from __future__ import annotations

import json
from pathlib import Path

import mlx_lm
import pytest
from mlx import nn
from mlx_lm.tuner.utils import linear_to_lora_layers

from prefd.daemon.worker.scoring import kernels, plan
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.kernels import find_plan_that_keeps_bits


@pytest.fixture
def model(tiny_model: Path) -> nn.Module:
    return mlx_lm.load(str(tiny_model))[0]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "user" / "kernels.json"
    monkeypatch.setattr(kernels, "locate_answers", lambda: path)
    return path


class Tried:
    """Holds for some plans, and remembers which it was asked of."""

    def __init__(self, *holds: int) -> None:
        self.holds = holds
        self.trials: list[int] = []

    def __call__(self, number: int) -> bool:
        self.trials.append(number)
        return number in self.holds


WAY = "prompts shared, whole"
PLANS = {"wide": 1, "narrow": 2}


@pytest.mark.parametrize(
    ("holds", "answer", "trials"), [((1, 2), "wide", [1]), ((2,), "narrow", [1, 2]), ((), None, [1, 2])]
)
def test_the_first_plan_that_holds_is_taken_and_tried_once(
    model: nn.Module, place: Path, holds: tuple[int, ...], answer: str | None, trials: list[int]
) -> None:
    tried = Tried(*holds)
    assert [find_plan_that_keeps_bits(model, WAY, PLANS, tried) for _ in range(2)] == [answer, answer]
    assert tried.trials == trials
    assert list(json.loads(place.read_text())) == [kernels.name_kernel()]


def test_another_kernel_is_tried_for_itself(model: nn.Module, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_plan_that_keeps_bits(model, WAY, PLANS, Tried(1)) == "wide"
    monkeypatch.setattr(kernels, "name_kernel", lambda: "openblas 9.9 Other, 64 threads")
    assert find_plan_that_keeps_bits(model, WAY, PLANS, Tried(2)) == "narrow"
    monkeypatch.undo()
    monkeypatch.setattr(kernels, "locate_answers", lambda: place)
    assert find_plan_that_keeps_bits(model, WAY, PLANS, Tried()) == "wide"


def test_a_model_of_another_shape_is_tried_for_itself(model: nn.Module, place: Path) -> None:
    find_plan_that_keeps_bits(model, WAY, PLANS, Tried(1))
    model.freeze()
    linear_to_lora_layers(model, -1, {"rank": 4, "scale": 10.0, "dropout": 0.0})
    assert find_plan_that_keeps_bits(model, WAY, PLANS, Tried(2)) == "narrow"
    model.layers[0].self_attn.q_proj.lora_b += 1  # an adapter that does something takes part in the sums
    assert find_plan_that_keeps_bits(model, WAY, PLANS, Tried()) is None


@pytest.mark.parametrize(
    "content", ["", "[]", '{"x": 3}', "\x00", '{"KERNEL": {"SHAPE": [1]}}', '{"KERNEL": {"SHAPE": "other"}}']
)
def test_a_damaged_file_is_tried_again_and_replaced(model: nn.Module, place: Path, content: str) -> None:
    place.parent.mkdir()
    shape = f"{WAY}, model {kernels._digest_shapes(model)}"
    place.write_text(content.replace("KERNEL", kernels.name_kernel()).replace("SHAPE", shape))
    assert find_plan_that_keeps_bits(model, WAY, PLANS, Tried(1)) == "wide"
    assert kernels.name_kernel() in json.loads(place.read_text())


def test_another_way_of_running_the_model_is_tried_for_itself(model: nn.Module, place: Path) -> None:
    assert find_plan_that_keeps_bits(model, WAY, PLANS, Tried(1)) == "wide"
    assert find_plan_that_keeps_bits(model, "prompts shared, in pieces of 64", PLANS, Tried(2)) == "narrow"


def test_a_folder_that_cannot_be_written_costs_another_try_and_nothing_else(model: nn.Module, place: Path) -> None:
    place.parent.write_text("a file where the folder should be")
    tried = Tried(1)
    assert [find_plan_that_keeps_bits(model, WAY, PLANS, tried) for _ in range(2)] == ["wide", "wide"]
    assert tried.trials == [1, 1]


def test_a_scorer_batches_what_was_found_to_keep_its_bits_and_all_that_pays_where_nothing_does(
    model: nn.Module, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for same_bits, slack in [*plan.SAME_BITS.items(), (kernels.NOTHING, plan.CPU)]:
        shape = f"{WAY}, model {kernels._digest_shapes(model)}"
        monkeypatch.setattr(
            kernels,
            "_read_answers",
            lambda same_bits=same_bits, shape=shape: {kernels.name_kernel(): {shape: same_bits}},
        )
        scorer = fastest_scorer(model)
        assert scorer.options.slack == slack
        assert scorer.same_bits == (same_bits != kernels.NOTHING)
