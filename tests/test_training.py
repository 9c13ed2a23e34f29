"""The training phase on a tiny model: the eight losses, the start check, accumulation, resume, and what it leaves."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import shutil
import threading
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
import tiny
from adapted import adapted, apart, logits
from conftest import PAIRS
from jobs_on_disk import make_job, run_precompute, run_training
from mlx.utils import tree_flatten

from prefd.daemon.report import phase_facts
from prefd.daemon.worker import likelihood, models
from prefd.daemon.worker.errors import JobError, Stopped
from prefd.daemon.worker.fuse import write_fused
from prefd.daemon.worker.job import Job
from prefd.plugins.types import LossInput, LossOutput

EIGHT = ["sigmoid", "hinge", "ipo", "dpop", "cpo", "cpo_hinge", "cpo_ipo", "cpo_dpop"]
STEP_0 = {"sigmoid": math.log(2), "dpop": math.log(2), "hinge": 1.0, "ipo": 25.0}
NAMES = {
    "step", "epoch", "loss", "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies",
    "logps/chosen", "logps/rejected", "grad_norm", "learning_rate", "tokens_per_second", "peak_memory_gb",
}  # fmt: skip


def job(home: Path, model: Path, pairs: Path, loss: str = "sigmoid", job_id: int = 1, **more: Any) -> Job:
    asked = more.pop("training", {})
    lora = {} if asked.get("fine_tune") == "full" else {"rank": 4}
    training = {"batch_size": 2, "learning_rate": 1e-3, "lora": lora} | asked
    data = {"path": str(pairs), "validation": 0.25} | more.pop("data", {})
    return make_job(home, job_id, model=str(model), data=data, loss={"name": loss}, training=training, **more)


def finished(made: Job) -> Job:
    run_precompute(made)
    run_training(made)
    return made


def metrics(made: Job) -> list[dict[str, float]]:
    return [line for line in made.run.read_metrics() if "loss" in line]


def adapter_digest(made: Job) -> str:
    return hashlib.sha256((made.run.adapter / "adapters.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("loss", EIGHT)
def test_each_loss_trains_from_the_cache(home: Path, tiny_model: Path, pairs_file: Path, loss: str) -> None:
    made = job(home, tiny_model, pairs_file, loss, training={"epochs": 4, "learning_rate": 3e-3})
    lines = metrics(finished(made))
    assert lines[0].keys() == NAMES
    assert [line["step"] for line in lines] == list(range(1, 13))  # 6 pairs, 2 a step, 4 epochs
    if loss in STEP_0:
        assert lines[0]["loss"] == pytest.approx(STEP_0[loss], rel=1e-4)
    first, last = (np.mean([line["rewards/margins"] for line in part]) for part in (lines[:3], lines[-3:]))
    assert last > first
    (evaluation,) = [line for line in made.run.read_metrics() if "eval_loss" in line and line["step"] == 12]
    assert {"eval_rewards/accuracies", "eval_rewards/margins", "eval_logps/chosen"} <= evaluation.keys()


def test_a_loss_without_a_reference_trains_with_an_empty_cache(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    made = job(home, tiny_model, pairs_file, "cpo")
    assert run_training(made).ok
    assert made.cache.references() == []


@pytest.mark.parametrize("kind", ["lora", "dora", "full"])
def test_adapter_loads_in_mlx_lm_with_the_trained_numbers(
    home: Path, tiny_model: Path, pairs_file: Path, kind: str
) -> None:
    made = finished(job(home, tiny_model, pairs_file, training={"fine_tune": kind, "num_layers": 1}))
    config = json.loads((made.run.adapter / "adapter_config.json").read_text())
    assert (config["fine_tune_type"], config["num_layers"]) == (kind, 1)
    prompt = mx.array([[5, 6, 7]])
    before = mlx_lm.load(str(tiny_model))[0](prompt)
    after = mlx_lm.load(str(tiny_model), adapter_path=str(made.run.adapter))[0](prompt)
    assert float(mx.abs(after - before).max()) > 1e-4
    weights = mx.load(str(made.run.adapter / "adapters.safetensors"))
    assert isinstance(weights, dict)
    assert all(".layers.1." in name for name in weights)


def test_the_last_partial_batch_counts_as_a_step(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    made = job(home, tiny_model, pairs_file, training={"batch_size": 4}, data={"validation": 0.0})
    lines = metrics(finished(made))
    assert [line["epoch"] for line in lines] == [0.5, 1.0]
    large = job(home, tiny_model, pairs_file, job_id=2, training={"batch_size": 100}, data={"validation": 0.0})
    assert len(metrics(finished(large))) == 1


@pytest.mark.parametrize("stop_at", [1, 5, 11])
def test_a_resumed_run_ends_bit_identical(home: Path, tiny_model: Path, pairs_file: Path, stop_at: int) -> None:
    settings = {"epochs": 4, "lora": {"rank": 4, "dropout": 0.2}, "save_every": 2}
    unbroken = finished(job(home, tiny_model, pairs_file, job_id=1, training=settings))
    broken = job(home, tiny_model, pairs_file, job_id=2, training=settings)
    stop = threading.Event()
    steps = iter(range(1, 100))

    class StopAt(threading.Event):
        def is_set(self) -> bool:
            return stop.is_set()

    from prefd.daemon.worker.trainer import Trainer

    original = Trainer.step

    def counted(self: Trainer, number: int, batches: Any) -> dict[str, float]:
        if next(steps) == stop_at:
            stop.set()
        return original(self, number, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", counted)
        with pytest.raises(Stopped, match=f"stopped after step {stop_at} of 12"):
            run_training(broken, StopAt())
    resumed = make_job(home, 2, **json.loads(broken.run.spec.read_text()))
    assert run_training(resumed).ok
    assert adapter_digest(resumed) == adapter_digest(unbroken)
    same = [[line["loss"] for line in metrics(each)] for each in (resumed, unbroken)]
    assert same[0] == same[1]


def test_a_run_killed_between_checkpoints_repeats_what_it_lost(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    """What a kill leaves: an older checkpoint, metrics past it, a half-written line."""
    settings = {"epochs": 4, "save_every": 5}
    unbroken = finished(job(home, tiny_model, pairs_file, job_id=1, training=settings))
    killed = finished(job(home, tiny_model, pairs_file, job_id=2, training=settings))
    shutil.rmtree(killed.run.adapter)
    shutil.rmtree(killed.run.checkpoints / "step-00000012")
    with killed.run.metrics.open("a") as file:
        file.write('{"step": 13, "lo')
    run_training(killed)
    assert adapter_digest(killed) == adapter_digest(unbroken)
    assert [line["step"] for line in metrics(killed)] == list(range(1, 13))


def test_checkpoints_are_adapters_and_only_the_newest_stay(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    made = finished(job(home, tiny_model, pairs_file, training={"epochs": 4, "save_every": 3, "keep_checkpoints": 2}))
    kept = sorted(path.name for path in made.run.checkpoints.iterdir())
    assert kept == ["step-00000009", "step-00000012"]
    mlx_lm.load(str(tiny_model), adapter_path=str(made.run.checkpoints / kept[0]))


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


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"lora": {"rank": 2}}, r"training\.lora\.rank is 2 and adapter .* has 4; leave it out"),
        ({"num_layers": 1}, r"training\.num_layers is 1 and adapter .* has 2; leave it out"),
        ({"fine_tune": "dora"}, r"adapter .* is lora and training\.fine_tune is dora"),
    ],
)
def test_a_setting_that_is_not_the_adapters_own_is_refused(
    home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path, training: dict[str, Any], message: str
) -> None:
    adapted(tiny_model, tmp_path / "adapter")
    clash = make_job(
        home,
        model=str(tiny_model),
        adapter=str(tmp_path / "adapter"),
        data={"path": str(pairs_file)},
        training=training,
    )
    with pytest.raises(JobError, match=message):
        finished(clash)


@pytest.mark.parametrize(("kind", "bits"), [("lora", 4), ("lora", 6), ("lora", 8), ("dora", 4), ("dora", 8)])
def test_a_policy_quantized_at_load_trains_and_its_adapter_loads(
    tiny_model: Path, tmp_path: Path, kind: str, bits: int
) -> None:
    source, policy = adapted(
        tiny_model, tmp_path / "adapter", fine_tune=kind, quantize={"bits": bits, "group_size": 32}
    )
    assert apart(logits(models.load(source)), logits(policy)) == 0


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"fine_tune": "dora"}, r"cannot be trained with dora: SwitchLinear doesn't support DoRA yet\. Name layers"),
        ({"lora": {"keys": ["nope"]}}, r"nothing to train"),
    ],
)
def test_experts_take_lora_and_what_they_do_not_take_is_refused(
    tmp_path: Path, training: dict[str, Any], message: str
) -> None:
    model = tiny.build(tmp_path / "moe", tiny.QWEN3_MOE)
    _, policy = adapted(model, tmp_path / "adapter")
    whole, _ = mlx_lm.load(str(model), adapter_path=str(tmp_path / "adapter"))
    assert apart(logits(whole), logits(policy)) == 0
    adapted(model, tmp_path / "attention", fine_tune="dora", lora={"rank": 2, "keys": ["self_attn.q_proj"]})
    with pytest.raises(JobError, match=message):
        adapted(model, tmp_path / "refused", **training)


def test_full_training_of_quantized_weights_and_dora_on_six_bits_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    for bits in (4, 6):
        source, _ = adapted(tiny_model, tmp_path / "adapter", quantize={"bits": bits, "group_size": 32})
        write_fused(source, tmp_path / f"{bits}", dequantize=False)
    with pytest.raises(
        JobError, match=r"is quantized \(model\..* and 14 more\), and quantized weights cannot be trained in full"
    ):
        adapted(tmp_path / "4", tmp_path / "x", fine_tune="full")
    with pytest.raises(JobError, match=r"has 6-bit weights \(model\..*\), which mlx-lm's DoRA cannot adapt"):
        adapted(tmp_path / "6", tmp_path / "x", fine_tune="dora")
    with pytest.raises(JobError, match=r"embed"):
        adapted(tmp_path / "4", tmp_path / "x", fine_tune="dora", lora={"keys": ["model.embed_tokens"]})


def test_a_quantized_start_is_its_own_reference(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    made = finished(job(home, tiny_model, pairs_file, training={"quantize": {"bits": 4, "group_size": 64}}))
    assert metrics(made)[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert made.fingerprint.identity["quantization"] == {"bits": 4, "group_size": 64}


def test_numbers_that_are_not_the_policys_own_stop_the_job_at_step_0(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    made = job(home, tiny_model, pairs_file)
    sides = [side for each in made.examples for side in (each.chosen, each.rejected)]
    made.store.put({made.key(side): np.full(len(side.ids) - side.start, -1.0, np.float32) for side in sides})
    with pytest.raises(JobError, match=r"step 0: .* differ by .* nats per token .* have it scored again"):
        run_training(made)
    assert not made.run.adapter.exists()


def test_missing_reference_values_are_named_with_the_remedy(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    with pytest.raises(JobError, match=r"is not in the reference cache .* precompute pass will score it"):
        run_training(job(home, tiny_model, pairs_file))


def test_another_reference_moves_the_first_loss(home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path) -> None:
    other = tiny.build_llama(tmp_path / "other", seed=5)
    made = finished(job(home, tiny_model, pairs_file, reference={"model": str(other)}))
    assert abs(metrics(made)[0]["loss"] - math.log(2)) > 1e-3


def test_a_loss_that_explodes_stops_the_job_naming_the_rows(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job(home, tiny_model, pairs_file, training={"learning_rate": 1e30, "epochs": 4})
    run_precompute(made)
    with pytest.raises(JobError, match=r"step \d+: loss .* on rows \[\d+, \d+\]; lower training\.learning_rate"):
        run_training(made)


def test_only_what_was_asked_for_is_trainable(tiny_model: Path, home: Path, pairs_file: Path) -> None:
    made = job(home, tiny_model, pairs_file, training={"lora": {"keys": ["self_attn.q_proj"]}, "num_layers": 1})
    assert made.spec.training is not None
    model = models.load(made.policy)
    models.make_trainable(model, made.policy, made.spec.training)
    names = [name for name, _ in tree_flatten(model.trainable_parameters())]
    assert names == ["model.layers.1.self_attn.q_proj.lora_a", "model.layers.1.self_attn.q_proj.lora_b"]


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"num_layers": 3}, r"training\.num_layers is 3; .* has 2 layers"),
        ({"lora": {"keys": ["nope"]}}, r"nothing to train: no layer of .* matches training\.lora\.keys \['nope'\]"),
    ],
)
def test_settings_the_model_cannot_have(
    home: Path, tiny_model: Path, pairs_file: Path, training: dict[str, Any], message: str
) -> None:
    with pytest.raises(JobError, match=message):
        finished(job(home, tiny_model, pairs_file, training=training))


def test_same_seed_same_adapter_and_another_seed_another(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    digests = [
        adapter_digest(finished(job(home, tiny_model, pairs_file, job_id=n + 1, training={"seed": seed})))
        for n, seed in enumerate([3, 3, 4])
    ]
    assert digests[0] == digests[1] != digests[2]


def test_pairs_are_all_seen_once_an_epoch(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    from prefd.daemon.worker.batches import Schedule

    made = job(home, tiny_model, pairs_file, training={"batch_size": 2, "gradient_accumulation_steps": 2, "epochs": 3})
    assert made.spec.training is not None
    schedule = Schedule.plan(made.examples, made.spec.training)
    assert (schedule.steps_per_epoch, schedule.total_steps) == (2, 6)
    orders = []
    for epoch in range(3):
        orders.append([example.row for step in (1, 2) for example in schedule.pairs(epoch * 2 + step)])
        assert sorted(orders[-1]) == list(range(1, len(PAIRS) + 1))
    assert orders[0] != orders[1] != orders[2]


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


def lora_b(made: Job) -> Any:
    weights = mx.load(str(made.run.adapter / "adapters.safetensors"))
    assert isinstance(weights, dict)
    return np.concatenate([np.array(weights[name]).ravel() for name in sorted(weights) if name.endswith("lora_b")])


def test_the_reported_learning_rate_follows_the_schedule(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    schedule = {"name": "linear_schedule", "warmup": 2}
    made = finished(job(home, tiny_model, pairs_file, training={"iters": 6, "lr_schedule": schedule}))
    rates = [line["learning_rate"] for line in metrics(made)]
    np.testing.assert_allclose(rates, [0, 5e-4, 1e-3, 1e-3, 1e-3 * 2 / 3, 1e-3 / 3], rtol=1e-6)


def evaluations(made: Job, name: str) -> list[tuple[int, float]]:
    return [(int(line["step"]), line[name]) for line in made.run.read_metrics() if name in line]


def test_early_stopping_ends_the_job_and_the_adapter_is_the_best_checkpoint(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    metric = "eval_rewards/accuracies"  # 0 or 1 here, so it stops improving soon
    training = {
        "iters": 60,
        "steps_per_eval": 2,
        "keep_checkpoints": 1,
        "early_stopping": {"metric": metric, "patience": 3},
        "load_best_model_at_end": True,
    }
    made = job(home, tiny_model, pairs_file, training=training)
    run_precompute(made)
    outcome = run_training(made)
    seen = evaluations(made, metric)
    best = max(value for _, value in seen)
    step = next(step for step, value in seen if value == best)
    assert [at for at, _ in seen][-1] == step + 6 == outcome.summary["steps"]
    assert (
        f"the adapter is the best one, of step {step}; stopped early: {metric} was best at step {step}"
        in outcome.reason
    )
    kept = {path.name for path in made.run.checkpoints.iterdir()}
    assert kept == {f"step-{step:08d}", f"step-{step + 6:08d}"}
    best_adapter = made.run.checkpoints / f"step-{step:08d}" / "adapters.safetensors"
    assert (made.run.adapter / "adapters.safetensors").read_bytes() == best_adapter.read_bytes()
    assert outcome.summary["best"] == {
        "metric": metric,
        "value": best,
        "step": step,
        "checkpoint": str(best_adapter.parent),
    }
    again = run_training(Job.load(made.home, 1))  # killed before its outcome was written
    assert (again.reason, again.summary["steps"]) == (outcome.reason, step + 6)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"best_checkpoint": {"metric": "eval_kl"}}, r"there is no metric eval_kl .* the evaluations have eval_loss"),
        ({"steps_per_eval": 1, "early_stopping": {}}, r"training\.early_stopping: .* evaluation 4 .* and it has 3"),
        ({"lr_schedule": {"name": "constant", "warmup": 50}}, r"50 steps of warmup, and the job has 3"),
    ],
)
def test_what_only_the_data_can_tell_is_told_before_the_first_step(
    home: Path, tiny_model: Path, pairs_file: Path, training: dict[str, Any], message: str
) -> None:
    made = job(home, tiny_model, pairs_file, training=training)
    with pytest.raises(JobError, match=message):
        finished(made)
    assert list(made.run.read_metrics()) == []


def test_selection_without_held_out_pairs_is_told(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    pairs_file.write_text("".join(json.dumps(pair | {"prompt": "The same?"}) + "\n" for pair in PAIRS))
    made = job(home, tiny_model, pairs_file, training={"best_checkpoint": {}})
    with pytest.raises(
        JobError, match=r"the 8 pairs share one prompt, so none is held out; give data\.validation a path"
    ):
        run_precompute(made)


def test_a_checkpoint_of_other_pairs_is_not_gone_on_from(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    made = finished(job(home, tiny_model, pairs_file))
    with pairs_file.open("a") as file:
        file.write(json.dumps(PAIRS[0] | {"prompt": "And now?"}) + "\n")
    changed = Job.load(made.home, 1)
    run_precompute(changed)
    with pytest.raises(
        JobError,
        match=r"the pairs are not those that the checkpoint of step 3 .* or begin anew: `prefd retry \d+ --fresh`",
    ):
        run_training(changed)


def test_the_row_that_is_not_finite_is_named_and_the_last_good_checkpoint_kept(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefd.daemon.worker.trainer import Trainer

    made = job(home, tiny_model, pairs_file, training={"iters": 9, "save_every": 1, "keep_checkpoints": 1})
    run_precompute(made)
    lengths = {len(each.chosen.ids) - each.chosen.start: each.row for each in made.data.train}
    length, row = lengths.popitem()
    assert length not in lengths
    step, loss = Trainer.step, made.loss

    def poisoned(x: LossInput) -> LossOutput:
        out = loss(x)
        return dataclasses.replace(out, losses=mx.where(x.policy_chosen.lengths == length, math.inf, out.losses))

    def from_step_7(self: Trainer, number: int, batches: Any) -> dict[str, float]:
        self.loss = poisoned if number >= 7 else loss
        return step(self, number, batches)

    monkeypatch.setattr(Trainer, "step", from_step_7)
    with pytest.raises(
        JobError, match=rf"step \d: loss .* on rows \[{row}\]; .* the last good checkpoint is kept: "
    ) as caught:
        run_training(made)
    failed = int(str(caught.value).removeprefix("step ")[0])
    kept = Path(str(caught.value).rpartition("kept: ")[2])
    assert kept.name == f"step-{failed - 2:08d}"  # that of the step before has not been tried
    assert (kept / "adapters.safetensors").is_file()


def test_a_checkpoint_that_cannot_be_written_ends_the_job_with_a_sentence(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    made = job(home, tiny_model, pairs_file, "cpo")
    made.run.checkpoints.write_text("a file where the folder should be")
    with pytest.raises(
        JobError, match=r"the checkpoint of step 3 cannot be written in .*checkpoints: .* is the disk full\?"
    ):
        run_training(made)


def test_held_out_rows_that_are_not_finite_stop_the_job(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefd.daemon.worker.trainer import Trainer

    made = job(home, tiny_model, pairs_file, training={"iters": 2, "steps_per_eval": 1})
    run_precompute(made)
    bad = made.data.held_out[1].row
    original = Trainer.evaluate

    def evaluate(self: Trainer, examples: Any) -> dict[str, float]:
        found = original(self, examples)
        return found | {"eval_loss": math.nan} if any(each.row == bad for each in examples) else found

    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    with pytest.raises(JobError, match=rf"step 1: eval_loss is nan, on held-out rows \[{bad}\]"):
        run_training(made)


def test_a_run_whose_chosen_answers_become_unlikely_says_so(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule itself: test_likelihood.py. Here its threshold is taken away, as a random model has little to forget."""
    monkeypatch.setattr(likelihood, "FALL_NATS", -math.inf)
    monkeypatch.setattr(likelihood, "FALL_SHARE", -math.inf)
    made = job(home, tiny_model, pairs_file, training={"iters": 8, "learning_rate": 3e-3, "steps_per_eval": 4})
    run_precompute(made)
    outcome = run_training(made)
    (warning,) = outcome.summary["warnings"]
    assert warning.startswith("eval_logps/chosen fell from ")
    facts = phase_facts("training", outcome, None)
    assert [text for name, text in facts if name == "warning"] == [warning]
