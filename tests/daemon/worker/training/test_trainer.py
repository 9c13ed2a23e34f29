"""Training from the cache against training with a live second model, step by step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from prefd.daemon.runs.batch_record import BatchSettings
from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.fine_tune import make_trainable
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.training.optimizer import make_optimizer
from prefd.daemon.worker.training.pass_sizes import PassSizes
from prefd.daemon.worker.training.schedule import Batching
from prefd.daemon.worker.training.train import open_cached_reference
from prefd.daemon.worker.training.trainer import Trainer, pad_rows
from prefd.plugins.types import LossInput, LossOutput
from support.adapters import move
from support.first_losses import STEPS, losses
from support.jobs_on_disk import make_job, run_precompute
from support.live_reference import live
from support.thinned import thin


@pytest.mark.parametrize("loss", thin(["sigmoid", "hinge", "ipo", "dpop"], "dpop".__eq__))
def test_cached_training_equals_training_with_a_live_reference(
    home: Path, tiny_model: Path, pairs_file: Path, loss: str
) -> None:
    training = {"batch_size": 2, "iters": STEPS, "learning_rate": 1e-3, "seed": 1}
    job = make_job(home, model=str(tiny_model), data={"path": str(pairs_file)}, loss={"name": loss}, training=training)
    run_precompute(job)
    cached, alongside = losses(job, open_cached_reference(job)), losses(job, live(job))
    np.testing.assert_allclose(cached, alongside, atol=1e-4)
    assert abs(cached[-1] - cached[0]) > 1e-3  # it did learn


@pytest.mark.slow
@pytest.mark.smol
@pytest.mark.usefixtures("known_bits")
@pytest.mark.thorough  # the tiny model has it with every loss
def test_cached_training_equals_live_training_on_a_real_model(home: Path, smol_layers: Path, pairs_file: Path) -> None:
    training = {"batch_size": 1, "iters": STEPS, "learning_rate": 1e-4, "lora": {"rank": 4}, "num_layers": 2}
    job = make_job(home, model=str(smol_layers), data={"path": str(pairs_file)}, training=training)
    run_precompute(job)
    cached, alongside = losses(job, open_cached_reference(job), 5), losses(job, live(job), 5)
    np.testing.assert_allclose(cached, alongside, atol=1e-4)
    assert np.ptp(cached) > 2e-3  # it did learn


def test_rows_of_different_lengths_are_padded_with_zeros() -> None:
    rows = pad_rows([np.float32([-1, -2]), np.float32([-3])])
    assert np.array(rows.tokens).tolist() == [[-1, -2], [-3, 0]]
    assert np.array(rows.mask).tolist() == [[1, 1], [1, 0]]
    assert np.array(rows.sums).tolist() == [-3, -3]
    assert np.array(rows.means).tolist() == [-1.5, -3]


def test_only_the_assistants_own_tokens_reach_the_loss_of_policy_and_reference(
    home: Path, tiny_model: Path, tmp_path: Path
) -> None:
    turns = [
        {"role": "assistant", "content": "It is two."},
        {"role": "user", "content": "And then?"},
        {"role": "assistant", "content": "Three."},
    ]
    rows = [
        {"prompt": "one?", "chosen": turns, "rejected": "No."},
        {"prompt": "one?", "chosen": "Two.", "rejected": turns},
    ]
    (tmp_path / "turns.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"path": str(tmp_path / "turns.jsonl"), "validation": 0.0}
    job = make_job(home, model=str(tiny_model), data=data, training={"optimizer": "sgd", "learning_rate": 1e-30})
    run_precompute(job)
    examples = job.data.train
    side = examples[0].chosen
    [stored] = job.store.get([job.key(Completion(side.ids, side.start))])
    assert len(stored) == len(side.own) > side.own.sum()  # all of it is scored, under the key that it always had
    seen: list[LossInput] = []

    def loss(x: LossInput) -> LossOutput:
        seen.append(x)
        output: LossOutput = job.loss(x)
        return output

    model = loading.load(job.policy)
    assert job.spec.training is not None
    make_trainable(model, job.policy, job.spec.training)
    optimizer = make_optimizer(job.spec.training, 1, model)
    trainer = Trainer(fastest_scorer(model), optimizer, loss, open_cached_reference(job), Batching(2, None))
    trainer.evaluate(examples)
    own = [[each.chosen.own for each in examples], [each.rejected.own for each in examples]]
    x = seen[0]
    for masks, policy, reference in zip(
        own, (x.policy_chosen, x.policy_rejected), (x.reference_chosen, x.reference_rejected)
    ):
        assert reference is not None
        for row, mask in enumerate(masks):
            for half in (policy, reference):
                assert np.array(half.mask)[row, : len(mask)].tolist() == mask.tolist()
                assert not np.array(half.tokens)[row, : len(mask)][~mask].any()
                assert np.array(half.tokens)[row, : len(mask)][mask].all()
    expected = np.mean([stored[side.own].sum(), job.store.get([job.key(examples[1].chosen)])[0].sum()])
    assert trainer.step(1, examples)["logps/chosen"] == pytest.approx(expected, abs=1e-3)


def trainer_with_dropout(home: Path, tiny_model: Path, pairs_file: Path, rate: float) -> tuple[Trainer, RunningJob]:
    """Its adapter is not that of the first step, or dropout would change nothing."""
    training = {"optimizer": "sgd", "learning_rate": rate, "lora": {"rank": 4, "dropout": 0.5}}
    data = {"path": str(pairs_file), "validation": 0.0}
    job = make_job(home, model=str(tiny_model), data=data, loss={"name": "cpo"}, training=training)
    assert job.spec.training is not None
    model = loading.load(job.policy)
    make_trainable(model, job.policy, job.spec.training)
    move(model)
    optimizer = make_optimizer(job.spec.training, 1, model)
    return Trainer(fastest_scorer(model), optimizer, job.loss, None, Batching(2, 512), seed=7), job


def test_an_evaluation_weighs_every_pair_alike_whatever_its_batch_and_drops_nothing(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    """Three pairs in batches of two and one."""
    trainer, job = trainer_with_dropout(home, tiny_model, pairs_file, rate=1.0)
    three = job.data.train[:3]
    assert [len(batch) for batch in trainer.batching.split(three)] == [2, 1]
    alone = [trainer.evaluate([each]) for each in three]
    assert len({each["eval_loss"] for each in alone}) == 3
    for name, value in trainer.evaluate(three).items():
        assert value == pytest.approx(np.mean([each[name] for each in alone]), rel=1e-6), name
    assert trainer.model.training


def test_the_passes_of_an_evaluation_are_measured_as_those_of_a_step_are(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer, job = trainer_with_dropout(home, tiny_model, pairs_file, rate=1e-3)
    trainer.passes = PassSizes(job.run.batches, BatchSettings(512, False, 4096), 2)
    sizes: list[int] = []
    monkeypatch.setattr(trainer.passes, "note_pass", lambda batch, seconds: sizes.append(len(batch)))
    trainer.step(1, job.data.train[:2])
    trainer.evaluate(job.data.train[:3])
    assert sizes == [2, 2, 1]


def test_what_is_dropped_is_decided_by_the_seed_and_the_step(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    trainer, job = trainer_with_dropout(home, tiny_model, pairs_file, rate=1e-30)

    def loss(step: int) -> float:
        return trainer.step(step, job.data.train[:2])["loss"]

    first, second = loss(1), loss(2)
    assert first != second
    assert (loss(1), loss(2)) == (first, second)
    trainer.seed = 8
    assert loss(1) != first
