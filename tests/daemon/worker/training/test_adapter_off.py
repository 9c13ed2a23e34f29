"""The policy with its adapter off as its own reference: exact, resumed to the last bit, and kept for others."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from prefd.daemon.jobs.needed_references import list_newest_uses
from prefd.daemon.worker.errors import JobError, Stopped
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.resting_adapters import RestingAdapters
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.training import adapter_off
from prefd.daemon.worker.training.plan import plan_training
from prefd.daemon.worker.training.policy import Policy
from prefd.daemon.worker.training.trained_policy import load_trained_policy
from support import tiny_model as tiny
from support.adapters import move
from support.jobs_on_disk import StopAtLook, adapter_digest, again, finished, job, metrics, run_precompute, run_training
from support.live_reference import live
from support.thinned import thin

LIVE = {"live": "adapter_off"}
SETTINGS: dict[str, Any] = {"epochs": 4, "learning_rate": 3e-3, "lora": {"rank": 4, "dropout": 0.2}, "save_every": 2}


def losses(running_job: RunningJob) -> list[float]:
    return [line["loss"] for line in metrics(running_job)]


def count_entries(running_job: RunningJob) -> int:
    return sum(reference.entries for reference in running_job.cache.references())


@pytest.mark.parametrize("fine_tune", thin(["lora", "dora"], ("dora").__eq__))
def test_its_losses_are_those_of_a_cached_run(home: Path, tiny_model: Path, pairs_file: Path, fine_tune: str) -> None:
    settings = SETTINGS | {"fine_tune": fine_tune} | ({"lora": {"rank": 4}} if fine_tune == "dora" else {})
    beside = job(home, tiny_model, pairs_file, job_id=1, training=settings, reference=LIVE)
    run_training(beside)
    cached = finished(job(home / "other", tiny_model, pairs_file, job_id=1, training=settings))
    assert losses(beside)[0] == pytest.approx(math.log(2), abs=1e-6)
    np.testing.assert_allclose(losses(beside), losses(cached), rtol=0, atol=1e-5)
    assert abs(losses(beside)[-1] - losses(beside)[0]) > 1e-3  # it did learn
    assert metrics(beside)[0].keys() == metrics(cached)[0].keys()
    assert count_entries(beside) == count_entries(cached)
    assert run_precompute(again(cached)).summary.missing == 0


def test_what_it_scores_is_kept_and_the_next_job_scores_nothing(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    first = job(home, tiny_model, pairs_file, job_id=1, training={"epochs": 2}, reference=LIVE)
    outcome = run_training(first)
    first.run.write_outcome("training", outcome)
    summary = outcome.summary.adapter_off
    assert summary is not None
    assert summary.scored == summary.completions == count_entries(first) > 0
    assert list_newest_uses(first.home)[str(summary.fingerprint)].job_id == 1
    assert run_precompute(job(home, tiny_model, pairs_file, job_id=2)).summary.missing == 0
    second = run_training(job(home, tiny_model, pairs_file, job_id=3, reference=LIVE)).summary.adapter_off
    assert second is not None
    assert (second.scored, second.cached) == (0, summary.completions)


def test_unkept_it_scores_at_each_step_and_writes_nothing(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    running_job = job(home, tiny_model, pairs_file, training={"epochs": 2}, reference=LIVE | {"store": False})
    summary = run_training(running_job).summary.adapter_off
    stored = job(home / "other", tiny_model, pairs_file, training={"epochs": 2}, reference=LIVE)
    kept_summary = run_training(stored).summary.adapter_off
    assert summary is not None
    assert kept_summary is not None
    assert summary.scored > kept_summary.scored
    assert count_entries(running_job) == 0
    np.testing.assert_allclose(losses(running_job), losses(stored), rtol=0, atol=1e-5)


@pytest.mark.parametrize("store", thin([True, False], (True).__eq__))
def test_resumed_after_a_kill_it_ends_bit_identical(
    home: Path, tiny_model: Path, pairs_file: Path, store: bool
) -> None:
    """A kill behind a checkpoint leaves scores in the cache of steps that are taken again; and one loses those not committed."""
    reference = LIVE | {"store": store}
    unbroken = job(home / "unbroken", tiny_model, pairs_file, training=SETTINGS, reference=reference)
    run_training(unbroken)
    broken = job(home, tiny_model, pairs_file, training=SETTINGS, reference=reference)
    with pytest.raises(Stopped, match="stopped after step 3 of 12"):
        run_training(broken, StopAtLook(3))
    shutil.rmtree(broken.run.checkpoints / "step-00000003")
    run_training(again(broken))
    assert adapter_digest(broken) == adapter_digest(unbroken)
    assert losses(broken) == losses(unbroken)


@pytest.mark.parametrize("store", [True, False])
def test_ranks_are_given_the_numbers_of_all_pairs_before_the_first_step(
    home: Path, tiny_model: Path, pairs_file: Path, store: bool
) -> None:
    running_job = job(home, tiny_model, pairs_file, reference=LIVE | {"store": store})
    training, schedule = plan_training(running_job)
    model = Policy.build(running_job, training, schedule.total_steps).model
    scorer = fastest_scorer(model)
    reference = adapter_off.open_adapter_off(running_job, model, lambda: scorer)
    sides = [side for each in running_job.examples for side in (each.chosen, each.rejected)]
    rows, expected = reference.score_all(sides), np.array(live(running_job)(sides).tokens)
    assert (count_entries(running_job) > 0) == store
    for row, values, side in zip(rows, expected, sides):
        np.testing.assert_allclose(row, values[: len(side.ids) - side.start], atol=1e-5)


def test_what_the_cache_has_is_not_scored(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_precompute(job(home, tiny_model, pairs_file, job_id=1))

    def refuse(*_: Any) -> None:
        raise AssertionError("scored")

    monkeypatch.setattr(adapter_off, "score", refuse)
    assert run_training(job(home, tiny_model, pairs_file, job_id=2, reference=LIVE)).ok


def test_numbers_of_another_model_in_the_cache_stop_it_at_step_0(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    running_job = job(home, tiny_model, pairs_file, reference=LIVE)
    sides = [side for each in running_job.examples for side in (each.chosen, each.rejected)]
    running_job.store.put(
        {running_job.key(side): np.full(len(side.ids) - side.start, -1.0, np.float32) for side in sides}
    )
    with pytest.raises(JobError, match=r"step 0: .* differ by .* nats a token"):
        run_training(running_job)


def test_a_base_that_gives_no_numbers_is_named_with_the_row(home: Path, pairs_file: Path, tmp_path: Path) -> None:
    broken = tiny.build_llama(tmp_path / "broken")
    path = broken / "model.safetensors"
    weights = mx.load(str(path))
    assert isinstance(weights, dict)
    name = next(name for name in weights if name.endswith("norm.weight"))
    mx.save_safetensors(str(path), weights | {name: mx.full(weights[name].shape, math.nan)}, {"format": "mlx"})
    with pytest.raises(
        JobError, match=r"with its adapter off gives no usable log-probabilities for pairs\.jsonl:\d+: nan"
    ):
        run_training(job(home, broken, pairs_file, reference=LIVE))


def test_pairs_are_scored_with_the_policy_where_nothing_was_kept(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    running_job = job(home, tiny_model, pairs_file, training={"epochs": 2}, reference=LIVE | {"store": False})
    summary = run_training(running_job).summary
    trainer = load_trained_policy(again(running_job), summary)
    trainer.model.eval()
    assert trainer.reference is not None
    sides = [running_job.examples[0].chosen]
    np.testing.assert_allclose(trainer.reference(sides).tokens, live(running_job)(sides).tokens, atol=1e-5)


def test_a_model_at_rest_is_its_base_and_afterwards_itself_again(
    tiny_model: Path, home: Path, pairs_file: Path
) -> None:
    running_job = job(home, tiny_model, pairs_file, training={"fine_tune": "dora"})
    training, schedule = plan_training(running_job)
    model: Any = Policy.build(running_job, training, schedule.total_steps).model
    move(model)
    base: Any = loading.load(running_job.policy)
    tokens = mx.array([[1, 2, 3, 4]])
    names = [name for name, _ in tree_flatten(model.parameters())]
    moved = model(tokens)
    with RestingAdapters.find(model).hold():
        assert not model.training
        assert mx.array_equal(model(tokens), base(tokens))
    assert model.training
    assert mx.array_equal(model(tokens), moved)
    assert not mx.array_equal(moved, base(tokens))
    assert [name for name, _ in tree_flatten(model.parameters())] == names
