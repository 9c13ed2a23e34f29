"""The start of a policy: exact while no step has moved it, and no gradient is chosen by rounding afterwards."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.errors import Stopped
from prefd.daemon.worker.training.checkpoint import Checkpoints, read_state
from prefd.daemon.worker.training.start import LEAST, SAFETY_FACTOR, Start, measure_noise
from prefd.daemon.worker.training.train import describe_noise, open_cached_reference
from prefd.daemon.worker.training.trainer import ReferenceScores
from prefd.plugins.losses.dpo import logratios
from prefd.plugins.losses.logits import output
from prefd.plugins.types import Logprobs, LossInput, LossOutput
from support.first_losses import losses, trainer_of
from support.jobs_on_disk import StopAtLook, adapter_digest, job, make_job, metrics, run_precompute, run_training
from support.thinned import thin


def side(rows: list[list[float]]) -> Logprobs:
    return Logprobs(mx.array(rows), mx.array([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0]]))


POLICY = side([[-1.0, -2.0, -3.0, -4.0], [-5.0, 0.0, 0.0, 0.0]])
STORED = side([[-1.001, -2.0, -3.0, -4.0], [-5.5, 0.0, 0.0, 0.0]])
"""Log-ratios of 0.001 over four tokens, and 0.5 over one."""


def test_a_policy_that_has_not_moved_is_its_own_reference() -> None:
    seen = Start(unmoved=True).reference_for(POLICY, STORED)
    assert mx.array_equal(seen.tokens, POLICY.tokens)


def test_a_policy_that_has_moved_is_compared_with_the_stored_numbers() -> None:
    assert Start(noise=9.0).reference_for(POLICY, STORED) is STORED


def test_a_shielded_loss_sees_rows_within_the_noise_as_equal_and_others_as_they_are() -> None:
    """The bound of four tokens is twice that of one: 0.001 ≤ 2 · 0.0006, and 0.5 > 0.0006."""
    seen = Start(noise=0.0006, shielded=True).reference_for(POLICY, STORED)
    assert seen.tokens.tolist() == [POLICY.tokens[0].tolist(), STORED.tokens[1].tolist()]
    closer = Start(noise=0.0004, shielded=True).reference_for(POLICY, STORED)
    assert mx.array_equal(closer.tokens, STORED.tokens)


def test_no_gradient_flows_through_the_policys_own_numbers_as_reference() -> None:
    def ratio(tokens: mx.array) -> mx.array:
        policy = POLICY._replace(tokens=tokens)
        return (tokens - Start(unmoved=True).reference_for(policy, STORED).tokens).sum()

    assert mx.grad(ratio)(POLICY.tokens).tolist() == np.ones((2, 4)).tolist()


def test_a_step_at_learning_rate_0_moves_nothing() -> None:
    start = Start(unmoved=True)
    start.note_step(0.0)
    assert start.unmoved
    start.note_step(1e-9)
    assert not start.unmoved
    start.note_step(0.0)
    assert not start.unmoved


class Noisy:
    """A scorer whose numbers have a known error in a batch: +e on even tokens, −e on odd ones, or all +e."""

    def __init__(self, error: float, one_sign: bool) -> None:
        self.error, self.one_sign = error, one_sign

    def logprobs(self, completions: list[Completion]) -> Logprobs:
        size = max(len(each.ids) - each.start for each in completions)
        exact = np.full((len(completions), size), -2.0)
        if len(completions) > 1:
            exact += self.error * (1.0 if self.one_sign else (-1.0) ** np.arange(size))
        return Logprobs(mx.array(exact.astype(np.float32)), mx.ones(exact.shape))

    def value_and_grad(self, completions: list[Completion], share: Any) -> Any:
        return share(self.logprobs(completions)), {}


def completions(*lengths: int) -> list[Completion]:
    return [Completion(np.arange(length + 3, dtype=np.uint32), 3) for length in lengths]


@pytest.mark.parametrize(("one_sign", "for_one_token"), [(False, 0.01), (True, 0.01 * 4)])
def test_noise_is_that_of_tokens_and_of_sums_whichever_is_larger(one_sign: bool, for_one_token: float) -> None:
    """0.01 a token; over 16 tokens of one sign the sum is 0.16 = 0.04 · √16."""
    noise = measure_noise(Noisy(0.01, one_sign), completions(16, 4))  # type: ignore[arg-type]  # what is asked of it is there
    assert noise == pytest.approx(SAFETY_FACTOR * for_one_token, rel=1e-4)


def test_the_stored_numbers_of_the_same_model_count_too() -> None:
    sides = completions(9, 9)
    stored = Logprobs(mx.full((2, 9), -2.03), mx.ones((2, 9)))
    assert measure_noise(Noisy(0.0, True), sides) == SAFETY_FACTOR * LEAST  # type: ignore[arg-type]
    assert measure_noise(Noisy(0.0, True), sides, stored) == pytest.approx(SAFETY_FACTOR * 0.03 * 3, rel=1e-4)  # type: ignore[arg-type]


def kinked(x: LossInput) -> LossOutput:
    """|z| with a slope of 50, which takes no notice of rounding."""
    chosen, rejected = logratios(x)
    return output(50 * mx.abs(chosen - rejected), 0.1, chosen, rejected)


def with_noise(scores: ReferenceScores, nats: float) -> ReferenceScores:
    """Stored numbers that are `nats` a token too large, so that every answer seems to have become less likely."""

    def noisy(sides: Any) -> Logprobs:
        noisy_scores = scores(sides)
        return noisy_scores._replace(tokens=noisy_scores.tokens + nats * noisy_scores.mask)

    return noisy


@pytest.mark.parametrize("loss", thin(["sigmoid", "hinge", "ipo", "dpop"], ("hinge", "dpop").__contains__))
def test_where_training_goes_is_not_decided_by_noise_in_the_stored_numbers(
    home: Path, tiny_model: Path, pairs_file: Path, loss: str
) -> None:
    """1e-5 nats a token, ten times what kernels make. A loss of dpop differs by δ · 1e-5 a token at most, about 0.01; and
    without what is known of the start it goes elsewhere, by a hundred times that.
    """
    training = {"batch_size": 2, "iters": 6, "learning_rate": 1e-3, "seed": 1}
    running_job = make_job(
        home, model=str(tiny_model), data={"path": str(pairs_file)}, loss={"name": loss}, training=training
    )
    run_precompute(running_job)
    noisy = with_noise(open_cached_reference(running_job), 1e-5)
    exact = losses(running_job, open_cached_reference(running_job), 6)
    uncertainty = np.abs(np.subtract(losses(running_job, noisy, 6), exact)).max()
    assert uncertainty < (0.02 if loss == "dpop" else 5e-4)
    if loss == "dpop":
        unknown = np.abs(np.subtract(losses(running_job, noisy, 6, start=Start()), exact)).max()
        assert unknown > 0.2


def test_noise_is_a_number_that_a_loss_can_use_and_a_resumed_run_has_again(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    """A numpy float would make numpy arrays of a loss's terms, whose gradients are lost without a word."""
    running_job = job(home, tiny_model, pairs_file)
    run_precompute(running_job)
    trainer = trainer_of(running_job, open_cached_reference(running_job))
    trainer.measure_noise(running_job.data.train[:2], same=True)
    assert type(trainer.start.noise) is float
    again = Start()
    again.restore(json.loads(json.dumps(trainer.start.state())))
    assert again == trainer.start
    x = LossInput(POLICY, POLICY, STORED, STORED, noise=np.float64(0.5))
    assert isinstance(x.chosen_noise, mx.array)
    assert x.chosen_noise.dtype == mx.float32


@pytest.mark.parametrize(
    ("noise", "message"), [(1e-5, None), (0.05, "known to within 0.5 nats only, for answers of 100")]
)
def test_much_rounding_is_told_of_with_what_it_means(noise: float, message: str | None) -> None:
    sides = completions(100, 100)
    warning = describe_noise(noise, [Example(1, *sides)] * 3)
    assert warning is None if message is None else message in str(warning)


def test_a_checkpoint_keeps_where_the_policy_started(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    """A warmup from 0: the first step moves nothing, and the run that goes on from it knows that."""
    schedule = {"name": "constant", "warmup": 2, "warmup_init": 0.0}
    training = {"iters": 4, "save_every": 1, "keep_checkpoints": 4, "lr_schedule": schedule}
    whole = job(home, tiny_model, pairs_file, "dpop", training=training)
    run_precompute(whole)
    run_training(whole)
    states = [read_state(Checkpoints(whole.run.checkpoints, 4).path(step))["start"] for step in (1, 2)]
    assert [state["unmoved"] for state in states] == [True, False]
    assert states[0]["noise"] == states[1]["noise"]
    assert [line["rewards/margins"] == 0 for line in metrics(whole)] == [True, True, False, False]

    stopped = job(home, tiny_model, pairs_file, "dpop", job_id=2, training=training)
    with pytest.raises(Stopped):
        run_training(stopped, StopAtLook(1))
    run_training(stopped)
    assert adapter_digest(stopped) == adapter_digest(whole)


def test_the_report_says_how_much_of_a_log_ratio_is_rounding(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    running_job = job(home, tiny_model, pairs_file, training={"iters": 1})
    run_precompute(running_job)
    noise = run_training(running_job).summary.log_ratio_noise
    assert SAFETY_FACTOR * LEAST <= noise < 1e-4


def test_a_loss_that_takes_no_notice_of_rounding_is_shielded_from_it_and_that_is_said(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    running_job = job(home, tiny_model, pairs_file, training={"iters": 2})
    run_precompute(running_job)
    vars(running_job)["loss"] = replace(running_job.loss, loss=kinked)
    outcome = run_training(running_job)
    assert any("takes no notice of rounding" in warning for warning in outcome.summary.warnings)
    assert metrics(running_job)[0]["loss"] == 0
