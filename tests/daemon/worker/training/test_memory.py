"""The estimate against what MLX measures, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from mlx import nn
from mlx_lm.tuner.utils import linear_to_lora_layers

from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models import memory as model_memory
from prefd.daemon.worker.models.fine_tune import make_trainable
from prefd.daemon.worker.models.memory import list_container_limits, machine
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker.training import memory
from prefd.daemon.worker.training.activations import estimate_activations
from prefd.daemon.worker.training.largest_batch import LargestBatch, TokenRun
from prefd.daemon.worker.training.memory import Estimate, check, estimate
from prefd.daemon.worker.training.qat import QAT
from prefd.daemon.worker.training.schedule import Batching
from support import tiny_model as tiny
from support.array_memory import count_held_bytes
from support.thinned import thin

GIB = 2**30
WAYS = ((plan.CPU, False), (plan.METAL, True))


def example(row: int, prompt: int, chosen: int, rejected: int, vocab: int = 300) -> Example:
    ids = np.random.default_rng(row).integers(3, vocab, prompt + chosen + rejected).astype(np.uint32)
    sides = (ids[prompt : prompt + chosen], ids[prompt + chosen :])
    return Example(row, *(Completion(np.concatenate([ids[:prompt], side]), prompt) for side in sides))


def adapted(folder: Path) -> nn.Module:
    model = mlx_lm.load(str(folder))[0]
    model.freeze()
    linear_to_lora_layers(model, -1, {"rank": 8, "scale": 20.0, "dropout": 0.0})
    model.train()
    return model


def measured(model: nn.Module, one: Example, options: Options) -> int:
    """Bytes that a forward and backward pass over one pair takes at its peak."""
    scorer = fastest_scorer(model, options)

    mx.eval(model.parameters())
    before = count_held_bytes()
    mx.reset_peak_memory()
    mx.eval(scorer.value_and_grad([one.chosen, one.rejected], lambda scored: (scored.sums.sum(), None)))
    return mx.get_peak_memory() - before


@pytest.mark.smol
@pytest.mark.thorough
@pytest.mark.usefixtures("known_bits")
@pytest.mark.parametrize("options", [Options(), Options(checkpoint_layers=True)], ids=str)
def test_the_estimate_of_a_pass_of_a_real_model_is_near_what_is_measured(smol_layers: Path, options: Options) -> None:
    model = adapted(smol_layers)
    one = example(1, 40, 200, 90, vocab=40_000)
    guess = estimate(model, {}, [one], Batching(1, 1024), options)
    peak = measured(model, one, options)
    assert (guess.activations + guess.gradients // 2) / peak == pytest.approx(1, abs=0.25)


KINDS: list[dict[str, Any]] = [
    {"num_layers": 2},
    {"fine_tune": "dora"},
    {"fine_tune": "full"},
    {"fine_tune": "full", "num_layers": 2},
    {"qat": {"bits": 4, "group_size": 32}},
    {"fine_tune": "full", "qat": {"bits": 4, "group_size": 32}},
]


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is wide enough for a pass over it to take what its layers take."""
    sizes = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4}
    return tiny.build_llama(tmp_path_factory.mktemp("models") / "small", **sizes)


@pytest.mark.usefixtures("known_bits")
@pytest.mark.parametrize("training", thin(KINDS, KINDS[1::2].__contains__), ids=str)
def test_the_estimate_of_each_kind_of_training_is_near_what_is_measured(
    small_model: Path, training: dict[str, Any], subtests: pytest.Subtests
) -> None:
    spec, one = TrainingSpec.model_validate(training), example(1, 46, 36, 36)
    for options in (Options(), Options(checkpoint_layers=True), Options(slack=plan.METAL, lazily=True)):
        model = loading.load(ModelSource(str(small_model)))
        make_trainable(model, ModelSource(str(small_model)), spec)
        qat = QAT.install(model, spec.qat, mx.float32, steps=10)
        guess = estimate(model, {}, [one], Batching(1, 1024), options, qat.nbytes)
        mx.eval(model.parameters())
        before = count_held_bytes()
        qat.begin_step(1)
        copies = mx.get_active_memory() - before
        with subtests.test(options):
            assert copies == pytest.approx(qat.nbytes, abs=2**16)
            expected = guess.activations + guess.gradients // 2 + qat.nbytes
            assert expected / (copies + measured(model, one, options)) == pytest.approx(1, abs=0.25)


def test_what_is_counted_is_exact(tiny_model: Path) -> None:
    model = adapted(tiny_model)
    state = {"m": mx.zeros((10, 10)), "v": [mx.zeros(7)]}
    guess = estimate(model, state, [example(1, 5, 20, 9)], Batching(4, 1024), Options())
    leaves = dict(nn.utils.tree_flatten(model.parameters()))
    assert guess.weights == sum(value.nbytes for value in leaves.values())
    assert guess.optimizer == 428
    assert guess.gradients == 2 * sum(value.nbytes for name, value in leaves.items() if "lora" in name)
    assert guess.total == guess.weights + guess.optimizer + guess.gradients + guess.activations


def test_the_largest_micro_batch_decides(tiny_model: Path) -> None:
    model = adapted(tiny_model)
    pairs = [example(row, 10, 64, 32) for row in range(1, 9)]
    assert estimate(model, {}, pairs, Batching(4, 300), Options()).tokens == 300
    assert estimate(model, {}, [*pairs, example(9, 10, 500, 32)], Batching(4, 300), Options()).tokens == 10 + 504 + 32
    assert estimate(model, {}, pairs, Batching(4, None), Options()).tokens == 4 * (10 + 64 + 32)


def test_longer_sequences_and_more_layers_take_more(tiny_model: Path) -> None:
    model = adapted(tiny_model)
    batch = LargestBatch.of([example(row, 60, 140, 100) for row in range(2)], Batching(2, None))
    base = estimate_activations(model, batch, Options())
    longer = LargestBatch.of([example(row, 120, 280, 200) for row in range(2)], Batching(2, None))
    assert base < estimate_activations(model, replace(batch, answers=longer.answers), Options())
    assert base < estimate_activations(model, longer, Options())
    assert estimate_activations(model, batch, Options(chunk_tokens=16)) < base
    assert estimate_activations(model, batch, Options(chunk_tokens=200)) == base


def test_layers_that_run_again_take_less_where_there_are_many(tiny_model: Path) -> None:
    model = adapted(tiny_model)
    model.model.layers = model.model.layers * 6
    batch = LargestBatch.of([example(1, 60, 140, 100)], Batching(2, None))
    recomputed = estimate_activations(model, batch, Options(checkpoint_layers=True))
    assert recomputed < 0.6 * estimate_activations(model, batch, Options())


def test_on_a_cpu_long_sequences_are_in_work_one_by_one(tiny_model: Path) -> None:
    model, pairs = adapted(tiny_model), [example(row, 300, 40, 40) for row in range(3)]
    added = []
    for slack, lazily in WAYS:
        options = Options(slack=slack, lazily=lazily, checkpoint_layers=True)
        few, many = (LargestBatch.of(pairs[:count], Batching(count, None), slack) for count in (1, 3))
        added.append(estimate_activations(model, many, options) - estimate_activations(model, few, options))
    assert added[0] < 0.5 * added[1]


def test_the_tokens_and_scores_of_a_batch_are_those_of_its_attention() -> None:
    """A prompt of 9 (its last token runs with the answers), answers of 64 and 32, too unlike for one batch."""
    batch = LargestBatch.of([example(1, 10, 64, 32)], Batching(1, None))
    assert batch.logit_rows == 96
    prompt, rejected, chosen = TokenRun(9, 81, 9), TokenRun(32, 32 * 41, 32), TokenRun(64, 64 * 73, 64)
    assert (batch.prompts, batch.answers) == ((prompt,), (rejected, chosen))
    assert batch.list_at_once(100)[:3] == [prompt, rejected, chosen]
    assert batch.add_whole(100) == (TokenRun(9, 81), TokenRun(96, 32 * 41 + 64 * 73))
    assert batch.tokens == 10 + 64 + 32


def test_what_is_longer_than_a_chunk_runs_in_pieces_and_the_rest_whole() -> None:
    """The chosen answer's 64 tokens are cut, the rejected one's 32 are not."""
    batch = LargestBatch.of([example(1, 10, 64, 32)], Batching(1, None))
    assert batch.add_whole(50) == (TokenRun(9, 81), TokenRun(32, 32 * 41))
    assert batch.list_pieces(50) == [TokenRun(50, 50 * 73, 64)]


def test_a_batch_is_as_large_as_it_may_be() -> None:
    batch = LargestBatch.of([example(row, 10, 64, 32) for row in range(4)], Batching(4, 2 * (10 + 64 + 32)))
    assert batch.tokens == 2 * (10 + 64 + 32)
    assert batch.add_whole(100)[1].tokens == 2 * (64 + 32)
    assert max(run.tokens for run in batch.list_at_once(100)) == 2 * 64


def test_a_sequence_that_is_longer_than_the_batch_may_be_runs_all_the_same() -> None:
    long = LargestBatch.of([example(row, 10, 64, 64) for row in range(2)], Batching(2, 20))
    assert max(run.tokens for run in long.list_at_once(100)) == 2 * 64, "both answers to one prompt"


def test_padding_counts_as_far_as_the_device_lets_unlike_lengths_meet() -> None:
    """Answers of 200 and 104 tokens make one batch of two rows of 200 where padding may be as much as is real."""
    one = example(1, 10, 200, 104)
    unlike, padded = (LargestBatch.of([one], Batching(1, None), slack) for slack in (plan.METAL, plan.CUDA))
    assert [run.tokens for run in unlike.answers] == [104, 200]
    assert [run.tokens for run in padded.answers] == [400]
    assert padded.prompts == unlike.prompts


def say(counted: int, batch: int, **training: object) -> str | None:
    return check(Estimate(counted, 0, 0, batch, 700), TrainingSpec.model_validate(training))


def test_a_job_that_fits_is_not_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine", lambda: (16 * GIB, 8 * GIB))
    assert say(2 * GIB, 5 * GIB) is None


def test_a_job_that_may_not_fit_is_warned_of_with_the_settings_not_used_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine", lambda: (16 * GIB, 8 * GIB))
    warned = say(2 * GIB, 20 * GIB)
    assert warned is not None
    assert "about 22.0 GiB: weights 2.0 GiB" in warned
    assert "a batch of 700 tokens 20.0 GiB; 8.0 GiB of 16.0 GiB are free now" in warned
    assert "training.grad_checkpoint: true" in warned
    assert "training.quantize: {bits: 4}" in warned
    again = say(2 * GIB, 20 * GIB, grad_checkpoint=True, quantize={"bits": 4})
    assert again is not None
    assert "grad_checkpoint" not in again
    assert "quantize" not in again


def test_a_job_whose_weights_cannot_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine", lambda: (16 * GIB, 8 * GIB))
    with pytest.raises(JobError, match=r"weights 17\.0 GiB.*16\.0 GiB in all.*fine_tune: lora"):
        say(17 * GIB, 0, fine_tune="full")


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("1:name=systemd:/x\n0::/a/b\n")
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/memory.max").write_text("max\n")
    (tmp_path / "a/b/memory.max").write_text("8589934592\n")
    assert list_container_limits(tmp_path, own) == [8 * GIB]
    assert list_container_limits(tmp_path, tmp_path / "none") == []


def test_an_older_containers_limit_counts(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("8:pids:/\n4:memory:/a/b\n0::/\n")
    for folder, limit in (("memory/a/b", 4 * GIB), ("memory/a", 2**63 - 4096)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    assert list_container_limits(tmp_path, own) == [4 * GIB, 2**63 - 4096]


def test_a_reference_larger_than_memory_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Linear(1024, 1024, bias=False)
    model_memory.check_weights(model, "org/large")
    monkeypatch.setattr(model_memory, "machine", lambda: (4 * 2**20 - 1, 2**20))
    with pytest.raises(JobError, match=r"of org/large take 0\.0 GiB.*score on a larger machine"):
        model_memory.check_weights(model, "org/large")


def test_the_machine_has_memory() -> None:
    total, free = machine()
    assert 0 < free <= total
