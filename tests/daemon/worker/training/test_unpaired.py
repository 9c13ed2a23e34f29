"""KTO on a tiny model from rows to adapter: cached as live, resumed bit for bit, and nothing scored a second time."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from prefd.daemon.worker.errors import JobError, Stopped
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.training.metrics import Mean, sum_pair_metrics
from prefd.daemon.worker.training.plan import describe_lone_answers
from prefd.daemon.worker.training.train import open_cached_reference
from prefd.plugins.manager import load_plugins
from prefd.plugins.types import Logprobs, LossInput
from support.first_losses import STEPS, losses
from support.jobs_on_disk import StopAtLook, adapter_digest, again, job, make_job, metrics, run_precompute, run_training
from support.live_reference import live
from support.sample_pairs import PAIRS

pytestmark = pytest.mark.usefixtures("known_bits")


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    rows = [
        {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
        for pair in PAIRS
        for side in ("chosen", "rejected")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_kto(home: Path, model: Path, answers: Path, job_id: int = 1, **training: object) -> RunningJob:
    settings = {"batch_size": 4, "epochs": 2, "lora": {"rank": 4, "dropout": 0.2}, "save_every": 2, **training}
    return job(home, model, answers, "kto", job_id=job_id, training=settings)


def test_batches_of_one_answer_are_warned_of(home: Path, tiny_model: Path, answers: Path) -> None:
    kto = make_kto(home, tiny_model, answers)
    assert kto.spec.training is not None
    lone = kto.spec.training.model_copy(update={"batch_size": 1})
    assert describe_lone_answers(kto, kto.spec.training) is None
    assert "training.batch_size is 1" in (describe_lone_answers(kto, lone) or "")


def test_kto_learns_resumes_bit_for_bit_and_scores_nothing_twice(home: Path, tiny_model: Path, answers: Path) -> None:
    running_job = make_kto(home, tiny_model, answers, epochs=6, learning_rate=3e-3)
    assert (
        run_precompute(running_job).summary.scored == 24
    )  # 16 answers, and 8 behind another prompt: both answers to one have the same beside them
    assert run_training(running_job).ok
    lines = metrics(running_job)
    assert lines[0]["loss"] == pytest.approx(0.5, abs=1e-6)  # 1 − σ(0)
    assert lines[0]["kl"] == 0
    assert min(line["kl"] for line in lines) >= 0
    evaluations = [line for line in running_job.run.read_metrics() if "eval_loss" in line]
    last = evaluations[-1]
    assert last["eval_rewards/margins"] == pytest.approx(last["eval_rewards/chosen"] - last["eval_rewards/rejected"])
    margins = [line["rewards/margins"] for line in lines if "rewards/margins" in line]
    assert np.mean(margins[-3:]) > np.mean(margins[:3]) + 0.01
    broken = make_kto(home, tiny_model, answers, 2, epochs=6, learning_rate=3e-3)
    assert run_precompute(broken).summary.scored == 0
    with pytest.raises(Stopped):
        run_training(broken, StopAtLook(7))
    assert run_training(again(broken)).ok
    assert adapter_digest(broken) == adapter_digest(running_job)


def test_a_step_with_answers_of_one_label_alone_has_no_margin_and_is_a_step(
    home: Path, tiny_model: Path, answers: Path
) -> None:
    running_job = make_kto(home, tiny_model, answers, batch_size=1, epochs=None, iters=1)
    run_precompute(running_job)
    assert run_training(running_job).ok
    assert [("rewards/margins" in line, line["step"]) for line in metrics(running_job)] == [(False, 1)]


def test_cached_kto_equals_kto_with_a_live_reference(home: Path, tiny_model: Path, answers: Path) -> None:
    running_job = make_job(
        home,
        model=str(tiny_model),
        data={"path": str(answers)},
        loss={"name": "kto"},
        training={"batch_size": 4, "iters": STEPS, "learning_rate": 1e-3, "seed": 1},
    )
    run_precompute(running_job)
    cached, alongside = losses(running_job, open_cached_reference(running_job)), losses(running_job, live(running_job))
    np.testing.assert_allclose(cached, alongside, atol=1e-4)
    assert abs(cached[-1] - cached[0]) > 1e-3  # it did learn


def test_losses_of_pairs_and_of_answers_make_no_mixture(home: Path, tiny_model: Path, answers: Path) -> None:
    running_job = make_job(
        home,
        model=str(tiny_model),
        data={"path": str(answers)},
        loss=[{"name": "kto"}, {"name": "sft", "weight": 0.1}],
        training={},
    )
    with pytest.raises(JobError, match="kto learns from single answers with a label and sft from pairs"):
        _ = running_job.loss


def test_means_are_over_the_answers_of_a_label_and_a_label_without_answers_is_left_out() -> None:
    kto = load_plugins().losses["kto"].create({"beta": 0.5})

    def side(*sums: float) -> Logprobs:
        return Logprobs(mx.array(sums)[:, None], mx.ones((len(sums), 1)))

    mean = Mean()
    for answers, desirable in (((-1.0, -3.0), (True, False)), ((-2.0, -5.0), (True, True))):
        x = LossInput(side(*answers), side(-1, -1), side(-2, -2), side(-1, -1), desirable=mx.array(desirable))
        mean.add(sum_pair_metrics(x, kto(x)))
    means = mean.means("eval_")
    assert means["eval_rewards/chosen"] == pytest.approx(0.5 * (1 + 0 - 3) / 3)
    assert means["eval_rewards/rejected"] == pytest.approx(-0.5)
    assert means["eval_rewards/margins"] == pytest.approx(-1 / 3 + 0.5)
    assert means["eval_rewards/accuracies"] == pytest.approx(2 / 4)
    assert means["eval_logps/chosen"] == pytest.approx(-8 / 3)
    only_good = Mean()
    only_good.add(sum_pair_metrics(x, kto(x)))
    assert {"rewards/rejected", "logps/rejected", "rewards/margins"}.isdisjoint(only_good.means())
