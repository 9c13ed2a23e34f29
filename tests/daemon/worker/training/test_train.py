"""The training phase on a tiny model: the eight losses, the start check, accumulation, and what it leaves."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob
from support import tiny_model as tiny
from support.jobs_on_disk import adapter_digest, finished, job, make_job, metrics, run_precompute, run_training
from support.thinned import thin

EIGHT = ["sigmoid", "hinge", "ipo", "dpop", "cpo", "cpo_hinge", "cpo_ipo", "cpo_dpop"]
STEP_0 = {"sigmoid": math.log(2), "dpop": math.log(2), "hinge": 1.0, "ipo": 25.0}
NAMES = {
    "step", "epoch", "time", "loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies",
    "logps/chosen", "logps/rejected", "grad_norm", "learning_rate", "num_tokens", "tokens_per_second", "peak_memory_gb",
}  # fmt: skip


@pytest.mark.parametrize("loss", thin(EIGHT, lambda loss: loss in ("sigmoid", "dpop", "cpo", "cpo_ipo")))
def test_each_loss_trains_from_the_cache(home: Path, tiny_model: Path, pairs_file: Path, loss: str) -> None:
    running_job = job(home, tiny_model, pairs_file, loss, training={"epochs": 4, "learning_rate": 3e-3})
    lines = metrics(finished(running_job))
    assert lines[0].keys() == NAMES
    assert [line["step"] for line in lines] == list(range(1, 13))  # 6 pairs, 2 a step, 4 epochs
    if loss in STEP_0:
        assert lines[0]["loss"] == pytest.approx(STEP_0[loss], rel=1e-4)
    first, last = (np.mean([line["rewards/margins"] for line in part]) for part in (lines[:3], lines[-3:]))
    assert last > first
    (evaluation,) = [line for line in running_job.run.read_metrics() if "eval_loss" in line and line["step"] == 12]
    assert {"eval_rewards/accuracies", "eval_rewards/margins", "eval_logps/chosen"} <= evaluation.keys()


def test_a_loss_without_a_reference_trains_with_an_empty_cache(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    running_job = job(home, tiny_model, pairs_file, "cpo")
    assert run_training(running_job).ok
    assert running_job.cache.references() == []


def test_the_last_partial_batch_counts_as_a_step(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    running_job = job(home, tiny_model, pairs_file, training={"batch_size": 4}, data={"validation": 0.0})
    lines = metrics(finished(running_job))
    assert [line["epoch"] for line in lines] == [0.5, 1.0]
    large = job(home, tiny_model, pairs_file, job_id=2, training={"batch_size": 100}, data={"validation": 0.0})
    assert len(metrics(finished(large))) == 1


def test_a_policy_may_start_from_an_adapter_and_is_its_own_reference(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    first = finished(job(home, tiny_model, pairs_file, job_id=1, training={"epochs": 3}))
    second = finished(job(home, tiny_model, pairs_file, job_id=2, adapter=str(first.run.adapter)))
    assert metrics(second)[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert second.fingerprint.sha256 != first.fingerprint.sha256
    config = json.loads((second.run.adapter / "adapter_config.json").read_text())
    assert config["lora_parameters"]["rank"] == 4
    left_out = make_job(
        home,
        3,
        model=str(tiny_model),
        adapter=str(first.run.adapter),
        data={"path": str(pairs_file)},
        training={"iters": 1},
    )
    assert metrics(finished(left_out))[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_a_quantized_start_is_its_own_reference(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    running_job = finished(job(home, tiny_model, pairs_file, training={"quantize": {"bits": 4, "group_size": 64}}))
    assert metrics(running_job)[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert running_job.fingerprint.identity["quantization"] == {"bits": 4, "group_size": 64}


def test_numbers_that_are_not_the_policys_own_stop_the_job_at_step_0(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    running_job = job(home, tiny_model, pairs_file)
    sides = [side for each in running_job.examples for side in (each.chosen, each.rejected)]
    running_job.store.put(
        {running_job.key(side): np.full(len(side.ids) - side.start, -1.0, np.float32) for side in sides}
    )
    with pytest.raises(JobError, match=r"step 0: .* differ by .* nats a token .* have it scored again"):
        run_training(running_job)
    assert not running_job.run.adapter.exists()


def test_missing_reference_values_are_named_with_the_remedy(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    with pytest.raises(JobError, match=r"is not in the reference cache .* precompute pass will score it"):
        run_training(job(home, tiny_model, pairs_file))


def test_another_reference_moves_the_first_loss(home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path) -> None:
    other = tiny.build_llama(tmp_path / "other", seed=5)
    running_job = finished(job(home, tiny_model, pairs_file, reference={"model": str(other)}))
    assert abs(metrics(running_job)[0]["loss"] - math.log(2)) > 1e-3


def test_a_loss_that_explodes_stops_the_job_naming_the_rows(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_job = job(home, tiny_model, pairs_file, training={"learning_rate": 1e30, "epochs": 4})
    run_precompute(running_job)
    with pytest.raises(
        JobError, match=r"step \d+: loss .* on pairs\.jsonl:\d, pairs\.jsonl:\d; lower training\.learning_rate"
    ):
        run_training(running_job)


def test_same_seed_same_adapter_and_another_seed_another(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    digests = [
        adapter_digest(finished(job(home, tiny_model, pairs_file, job_id=n + 1, training={"seed": seed})))
        for n, seed in enumerate([3, 3, 4])
    ]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(("batch_size", "accumulation"), [(2, 2), (1, 4)])
def test_accumulation_equals_the_large_batch_the_ragged_last_one_included(
    home: Path, tiny_model: Path, pairs_file: Path, batch_size: int, accumulation: int
) -> None:
    """6 pairs: a step of 4 and one of 2."""
    steps = {"epochs": 2, "optimizer": "sgd", "learning_rate": 1e-2}  # SGD: no sign or root hides a wrong gradient
    large = job(home, tiny_model, pairs_file, job_id=1, training=steps | {"batch_size": 4})
    accumulated = {"batch_size": batch_size, "gradient_accumulation_steps": accumulation}
    small = job(home, tiny_model, pairs_file, job_id=2, training=steps | accumulated)
    ones, others = metrics(finished(large)), metrics(finished(small))
    assert [line["epoch"] for line in ones] == [0.5, 1.0, 1.5, 2.0]
    for one, other in zip(ones, others, strict=True):
        for name in NAMES - {"tokens_per_second", "peak_memory_gb"}:
            assert one[name] == pytest.approx(other[name], rel=2e-5, abs=1e-6)
    weights = [mx.load(str(each.run.adapter / "adapters.safetensors")) for each in (large, small)]
    assert isinstance(weights[0], dict)
    assert isinstance(weights[1], dict)
    for name, value in weights[0].items():
        np.testing.assert_allclose(np.array(value), np.array(weights[1][name]), rtol=1e-4, atol=1e-7)


def test_clipping_bounds_what_the_optimizer_sees_and_reports_the_norm_before(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    sgd = {"iters": 1, "optimizer": "sgd", "learning_rate": 1.0}
    free = finished(job(home, tiny_model, pairs_file, job_id=1, training=sgd))
    norm = metrics(free)[0]["grad_norm"]
    clipped = finished(job(home, tiny_model, pairs_file, job_id=2, training=sgd | {"max_grad_norm": norm / 4}))
    assert metrics(clipped)[0]["grad_norm"] == norm
    moved = [lora_b(each) for each in (free, clipped)]  # b begins at 0, so it is minus the gradient
    np.testing.assert_allclose(moved[1], moved[0] / 4, rtol=1e-5)
    assert np.linalg.norm(moved[0]) == pytest.approx(norm, rel=1e-5)  # and so a's gradient is 0


def lora_b(running_job: RunningJob) -> Any:
    weights = mx.load(str(running_job.run.adapter / "adapters.safetensors"))
    assert isinstance(weights, dict)
    return np.concatenate([np.array(weights[name]).ravel() for name in sorted(weights) if name.endswith("lora_b")])


def test_the_reported_learning_rate_follows_the_schedule(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    schedule = {"name": "linear_schedule", "warmup": 2}
    running_job = finished(job(home, tiny_model, pairs_file, training={"iters": 6, "lr_schedule": schedule}))
    rates = [line["learning_rate"] for line in metrics(running_job)]
    np.testing.assert_allclose(rates, [0, 5e-4, 1e-3, 1e-3, 1e-3 * 2 / 3, 1e-3 / 3], rtol=1e-6)
