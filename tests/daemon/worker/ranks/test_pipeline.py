"""Layers over several ranks against all of them in one: the same bits on mlx-lm's architectures, and a lost rank is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from prefd.daemon.errors import WorkerExit
from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.device_trouble import find_rank_trouble
from prefd.daemon.worker.ranks.mate import LostRank
from prefd.daemon.worker.ranks.pipeline import UNDER_WAY, Pipeline
from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.choose import choose_apart, narrow_batching
from prefd.daemon.worker.scoring.scorer import Options
from support import tiny_architectures
from support.stage_mates import make_pipeline

pytestmark = pytest.mark.usefixtures("known_bits")

WHOLE_ONLY = {"gpt_neox", "lille-130m"}
"""Whose trunk gives logits, so that nothing can be run apart."""
OFTEN = {"llama untied", "gemma2", "qwen3_next", "rwkv7"}
WAYS = {
    "as on a CPU": Options(),
    "as on a Mac": Options(slack=plan.METAL, lazily=True, as_trained=True),
    "as on a card": Options(slack=plan.CUDA, lazily=True),
    "in pieces": Options(chunk_tokens=5),
}


def batches(count: int = 3) -> list[list[Completion]]:
    """Batches of prompts with two answers, prompts of unlike lengths, and one completion alone."""
    random = np.random.default_rng(1)

    def make(*prompt_sizes: int) -> list[Completion]:
        prompts = [random.integers(1, 64, size).astype(np.uint32) for size in prompt_sizes]
        return [
            Completion(np.concatenate([prompt, random.integers(1, 64, size).astype(np.uint32)]), len(prompt))
            for prompt, sizes in zip(prompts, ((9, 20), (35, 2)))
            for size in sizes
        ]

    return ([make(6, 11), make(4, 30), make(7)[:1]] * count)[:count]


def open_pipeline(
    name: str, options: Options | None = None, log: list[str] | None = None, ranks: int | None = None
) -> Pipeline:
    """A pipeline of so many ranks; None: as many as there are layers."""
    open_model = partial(_build, name)
    way = narrow_batching(choose_apart(open_model, options), lambda *_: iter(()))
    assert way.parts is not None
    layers = len(way.parts.layers)
    return make_pipeline(way, open_model, range(0, layers, layers // (ranks or layers)), log)


def _build(name: str) -> Any:
    return tiny_architectures.build(name).freeze()


def cases() -> Iterator[Any]:
    for name in sorted(tiny_architectures.OWN.keys() - WHOLE_ONLY):
        for way in WAYS:
            often = name in OFTEN if way == "as on a CPU" else name == "qwen3_next" and way == "as on a Mac"
            yield pytest.param(name, way, id=f"{name}-{way}", marks=[] if often else pytest.mark.thorough)


@pytest.mark.parametrize(("name", "way"), list(cases()))
def test_a_rank_for_each_layer_gives_the_bits_of_one_for_all(name: str, way: str) -> None:
    pipeline = open_pipeline(name, WAYS[way])
    for scores, batch in zip(pipeline.logprobs(batches()), batches(), strict=True):
        expected = pipeline.scorer.logprobs(batch)
        np.testing.assert_array_equal(np.array(scores.tokens), np.array(expected.tokens))
        np.testing.assert_array_equal(np.array(scores.mask), np.array(expected.mask))


def test_a_stage_takes_the_next_batch_before_the_last_one_is_through_and_few_are_under_way() -> None:
    log: list[str] = []
    pipeline = open_pipeline("gemma3_text", log=log, ranks=3)
    begun: list[int] = []

    class Noted:
        """The first stage, which notes how many batches were through when it began with each."""

        def run(self, *args: Any) -> Any:
            begun.append(len([line for line in log if line.startswith("2 ")]))
            return pipeline.own.run(*args)

    noted: Any = Noted()
    noting_pipeline = dataclasses.replace(pipeline, own=noted)
    for mate in noting_pipeline.crew.mates:
        mate.looks_each = 2  # type: ignore[attr-defined]
    assert len(list(noting_pipeline.logprobs(batches(9)))) == 9
    assert begun[:3] == [0, 0, 0], "the first batch is not waited for"
    under_way = [index - through for index, through in enumerate(begun)]
    assert max(under_way) == UNDER_WAY * 2 - 1
    assert sorted(noting_pipeline.slowest) == [0, 1, 2]
    assert noting_pipeline.sent[0] == 0
    assert noting_pipeline.sent[1] == noting_pipeline.sent[2] > 0, "each stage hands on as much as the one before"


def test_what_is_through_comes_before_the_loss_of_a_rank_and_that_is_named() -> None:
    pipeline = open_pipeline("gemma3_text", ranks=3)
    middle: Any = pipeline.crew.mates[0]
    middle.dies_after = 3
    scores: list[Any] = []
    with pytest.raises(LostRank, match=r"^rank 1 died of SIGKILL$"):
        scores.extend(pipeline.logprobs(batches(9)))
    assert len(scores) == 2, "the third was with the stage behind it"


def test_a_rank_without_memory_is_lost_as_one_that_the_job_goes_on_from_with_smaller_batches() -> None:
    pipeline = open_pipeline("llama")
    mate: Any = pipeline.crew.mates[0]
    mate.dies_after, mate.words = 0, "RuntimeError: [metal::malloc] Unable to allocate 9 bytes"
    with pytest.raises(LostRank) as lost:
        list(pipeline.logprobs(batches()))
    assert find_rank_trouble(str(lost.value)) == WorkerExit.NO_MEMORY


def test_who_waits_can_stop_it() -> None:
    class Stop(Exception):
        pass

    def stop(index: int) -> None:
        raise Stop(index)

    with pytest.raises(Stop, match="0"):
        list(open_pipeline("llama").logprobs(batches(), stop))


def test_batches_that_nobody_wants_any_more_are_not_taken_for_the_next_ones() -> None:
    pipeline = open_pipeline("gemma3_text", ranks=3)
    abandoned = pipeline.logprobs(batches(9))
    next(abandoned)
    other = batches()[::-1]
    for scores, batch in zip(pipeline.logprobs(other), other, strict=True):
        np.testing.assert_array_equal(np.array(scores.tokens), np.array(pipeline.scorer.logprobs(batch).tokens))
