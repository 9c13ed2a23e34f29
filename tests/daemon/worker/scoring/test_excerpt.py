"""The self-check is made on a few layers in float32, and says of every architecture what the whole model says."""

from __future__ import annotations

import mlx.core as mx
import pytest
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from prefd.daemon.worker.scoring import choose
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.excerpt import choose_layers, make_excerpt
from prefd.daemon.worker.scoring.trunk import find_parts
from support import tiny_architectures


def shapes(model: nn.Module) -> dict[str, tuple[tuple[int, ...], mx.Dtype]]:
    return {name: (value.shape, value.dtype) for name, value in tree_flatten(model.parameters())}


def test_an_excerpt_is_in_float32_and_the_model_stays_as_it_is():
    model = tiny_architectures.build("llama")
    model.set_dtype(mx.bfloat16)
    before = shapes(model)
    excerpt = make_excerpt(next(find_parts(model)))
    assert {dtype for _, dtype in shapes(excerpt).values()} == {mx.float32}
    assert shapes(model) == before


def test_tied_modules_of_an_excerpt_stay_one():
    model = tiny_architectures.build("llama")
    model.again = model.model.layers[0]
    excerpt = make_excerpt(next(find_parts(model)))
    assert excerpt.again is excerpt.model.layers[0]
    assert excerpt.again is not model.again


class Layer(nn.Module):
    """A layer of one kind or another."""

    def __init__(self, slides: bool = False) -> None:
        super().__init__()
        self.proj = nn.Linear(4, 4)
        self.slides = slides


def test_layers_are_taken_until_each_kind_has_been_met():
    layers = [Layer(), Layer(), Layer(), Layer(slides=True), Layer(), Layer()]
    assert choose_layers(layers) == layers[:4]
    assert choose_layers([Layer() for _ in range(9)][:3])
    assert len(choose_layers([Layer() for _ in range(9)])) == 2


def test_trained_layers_take_the_place_of_frozen_ones_of_their_kind():
    layers = [Layer(slides=index % 2 == 1) for index in range(8)]
    model = nn.Module()
    model.layers = layers
    model.freeze()
    linear_to_lora_layers(model, 2, {"rank": 2, "scale": 1.0, "dropout": 0.0, "keys": ["proj"]})
    assert choose_layers(model.layers) == [model.layers[6], model.layers[7]]


@pytest.mark.parametrize("message", ["[METAL] Command buffer execution failed: Insufficient Memory", "std::bad_alloc"])
def test_memory_that_runs_out_is_not_taken_for_a_strange_architecture(monkeypatch: pytest.MonkeyPatch, message: str):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(message)

    model = tiny_architectures.build("llama")
    monkeypatch.setattr(choose, "_measure", fail)
    with pytest.raises(RuntimeError, match=message[-12:]):
        fastest_scorer(model)


def test_a_model_whose_layers_cannot_be_tried_alone_is_tried_whole(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise IndexError("layer 7")

    model = tiny_architectures.build("llama")
    expected = fastest_scorer(model).describe()
    monkeypatch.setattr(choose, "make_excerpt", fail)
    assert fastest_scorer(model).describe() == expected


OFTEN = ("gemma2", "gpt_neox", "qwen3_next")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in OFTEN else pytest.mark.thorough)
        for name in sorted(tiny_architectures.OWN)
    ],
)
def test_an_excerpt_says_what_the_whole_model_says(monkeypatch: pytest.MonkeyPatch, name: str):
    model = tiny_architectures.build(name)
    model.freeze()
    chosen = fastest_scorer(model)
    monkeypatch.setattr(choose, "_choose_by_excerpt", lambda *_: None)
    whole = fastest_scorer(model)
    assert (chosen.describe(), chosen.grouped) == (whole.describe(), whole.grouped)
    assert (chosen.parts and chosen.parts.path) == (whole.parts and whole.parts.path)
    assert chosen.model is model
