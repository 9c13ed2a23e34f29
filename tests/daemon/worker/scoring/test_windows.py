"""A window of layers at a time against all of them at once: the same bits on mlx-lm's architectures, in less memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.memory import count_bytes
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.scoring import choose, plan
from prefd.daemon.worker.scoring.choose import NoWindows, windowed_scorer
from prefd.daemon.worker.scoring.scorer import Options
from support import tiny_architectures
from support import tiny_model as tiny
from support.array_memory import count_held_bytes

pytestmark = pytest.mark.usefixtures("known_bits")

WHOLE_ONLY = {"gpt_neox", "lille-130m"}
"""Whose trunk gives logits, so that nothing can be run apart."""
OFTEN = {
    "llama untied",
    "llama sliding",
    "gemma2",
    "gpt2",
    "qwen3_moe",
    "deepseek_v3",
    "qwen3_next",
    "jamba",
    "rwkv7",
    "lfm2",
}
WAYS = {
    "as on a CPU": Options(),
    "as on a Mac": Options(slack=plan.METAL, lazily=True, as_trained=True),
    "as on a card": Options(slack=plan.CUDA, lazily=True),
    "in pieces": Options(chunk_tokens=5),
}


def batches() -> list[list[Completion]]:
    """Batches with prompts that have two answers, prompts of unlike lengths, and one completion alone."""
    random = np.random.default_rng(1)

    def make(prompt_sizes: tuple[int, ...]) -> list[Completion]:
        prompts = [random.integers(1, 64, size).astype(np.uint32) for size in prompt_sizes]
        return [
            Completion(np.concatenate([prompt, random.integers(1, 64, size).astype(np.uint32)]), len(prompt))
            for prompt, sizes in zip(prompts, ((9, 20), (35, 2)))
            for size in sizes
        ]

    return [make((6, 11)), make((4, 30)), make((7,))[:1]]


def cases() -> Iterator[Any]:
    for name in sorted(tiny_architectures.OWN.keys() - WHOLE_ONLY):
        for way in WAYS:
            often = name in OFTEN if way == "as on a CPU" else name == "qwen3_next"
            yield pytest.param(name, way, id=f"{name}-{way}", marks=[] if often else pytest.mark.thorough)


@pytest.mark.parametrize(("name", "way"), list(cases()))
def test_one_layer_at_a_time_gives_the_bits_of_all_at_once(name: str, way: str) -> None:
    scorer = windowed_scorer(lambda: tiny_architectures.build(name).freeze(), 1, WAYS[way])
    assert scorer.window_count >= 2
    for scores, batch in zip(scorer.logprobs(batches()), batches()):
        np.testing.assert_array_equal(np.array(scores.tokens), np.array(scorer.scorer.logprobs(batch).tokens))


def test_quantized_weights_in_windows_of_any_size_too() -> None:
    def open_model() -> nn.Module:
        model = tiny_architectures.build("gemma3_text")
        nn.quantize(
            model,
            group_size=32,
            bits=8,
            class_predicate=lambda _, m: hasattr(m, "to_quantized") and m.weight.shape[-1] % 32 == 0,
        )
        return model.freeze()

    scorer = windowed_scorer(open_model, 4)
    assert (scorer.layer_count, scorer.window_count) == (6, 2)
    for scores, batch in zip(scorer.logprobs(batches()), batches()):
        np.testing.assert_array_equal(np.array(scores.tokens), np.array(scorer.scorer.logprobs(batch).tokens))


@pytest.mark.parametrize("name", sorted(WHOLE_ONLY))
def test_what_has_no_trunk_is_refused(name: str) -> None:
    with pytest.raises(NoWindows, match="its layers cannot be run apart"):
        windowed_scorer(lambda: tiny_architectures.build(name).freeze(), 1)


class Telling(nn.Module):
    """A layer that hands its successors something besides its output."""

    def __init__(self, layer: nn.Module, notes: list[mx.array]) -> None:
        super().__init__()
        self.layer = layer
        self._told = notes
        self._use_sliding = False

    @property
    def use_sliding(self) -> bool:
        return self._use_sliding

    def __call__(self, x: mx.array, *args: Any, **kwargs: Any) -> mx.array:
        before = self._told[-1] if self._told else 0.0
        output = self.layer(x, *args, **kwargs)
        self._told.append(0.1 * output)
        return output + before


def test_layers_that_tell_each_other_more_than_their_output_are_refused() -> None:
    def open_model() -> nn.Module:
        model: Any = tiny_architectures.build("llama")
        notes: list[mx.array] = []
        model.model.layers = [Telling(layer, notes) for layer in model.model.layers]
        plain_call = type(model.model).__call__

        class Forgetting(type(model.model)):  # type: ignore[misc]
            def __call__(self, *args: Any, **kwargs: Any) -> mx.array:
                notes.clear()
                return plain_call(self, *args, **kwargs)

        model.model.__class__ = Forgetting
        return model.freeze()  # type: ignore[no-any-return]

    with pytest.raises(NoWindows, match=r"run one at a time, are .* nats off all of them at once"):
        windowed_scorer(open_model, 1)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose layers are large beside everything else: 10 of 3.4 MB."""
    folder = tmp_path_factory.mktemp("models") / "wide"
    return tiny.build_llama(
        folder,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=10,
        num_attention_heads=4,
        num_key_value_heads=4,
    )


@pytest.mark.parametrize("way", ["as on a CPU", "as on a Mac"])
def test_the_other_layers_take_no_memory_but_for_the_states(wide: Path, way: str) -> None:
    others = count_held_bytes()
    scorer = windowed_scorer(lambda: loading.load_lazily(ModelSource(str(wide))).freeze(), 2, WAYS[way])
    layer = count_bytes(scorer.open_layers()[0].parameters())
    tokens = sum(len(completion.ids) + plan.SHORTEST for batch in batches() for completion in batch)
    states = 4 * 256 * tokens

    def measure(score: Callable[[], object]) -> int:
        """The peak of what is taken beside the frame, which is in memory already."""
        before = count_held_bytes()
        mx.reset_peak_memory()
        score()
        return int(mx.get_peak_memory()) - before

    in_windows = measure(lambda: [mx.eval(scores) for scores in scorer.logprobs(batches())])
    left = mx.get_active_memory() - others
    whole = measure(lambda: [mx.eval(scorer.scorer.logprobs(batch)) for batch in batches()])
    assert in_windows <= whole - 8 * layer + states + layer // 10  # the cache of buffers rounds sizes up
    assert whole - in_windows > 7 * layer
    assert left < layer  # the frame alone


def test_the_weights_are_read_once_for_each_of_the_plans_that_are_tried(
    wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def open_model() -> nn.Module:
        opened.append(1)
        return loading.load_lazily(ModelSource(str(wide))).freeze()

    monkeypatch.setattr(choose, "TRIED_BATCHES", choose.TRIED_BATCHES[:1])
    monkeypatch.setattr(
        choose,
        "find_plan_that_keeps_bits",
        lambda model, way, plans, keeps: [keeps(each) for each in plans.values()] and None,
    )
    windowed_scorer(open_model, 5)
    assert len(opened) == 2 + len(plan.SAME_BITS)
