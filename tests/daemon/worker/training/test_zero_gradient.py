from __future__ import annotations

import logging
from pathlib import Path

import mlx.core as mx
import pytest

from prefd.daemon.worker.training.trainer import Trainer
from prefd.daemon.worker.training.zero_gradient import describe_zero_gradients
from prefd.plugins.types import LossInput, LossOutput
from support.jobs_on_disk import job, run_training


def steps(*norms: float, first: int = 1) -> list[dict[str, float]]:
    return [{"step": step, "grad_norm": norm} for step, norm in enumerate(norms, first)]


@pytest.mark.parametrize(
    ("norms", "total", "where"),
    [
        ((0.0, 0.0, 0.0), 3, "the gradient was 0 at all of the 3 steps, so nothing"),
        ((0.0, 0.0), 20, "the gradient was 0 at all of the 20 steps, as far as they were reported (2), so"),
        ((0.0, 0.1), 2, "the gradient was 0 at the first step, so"),
        ((0.0,), 20, "the gradient was 0 at the first step, so"),
        ((0.0,), 1, "the gradient was 0 at the only step, so"),
    ],
)
def test_a_gradient_of_zero_from_the_first_step_on_is_told(norms: tuple[float, ...], total: int, where: str) -> None:
    warning = describe_zero_gradients(steps(*norms), total)
    assert warning is not None
    assert warning.startswith(where)


def test_a_gradient_that_is_zero_later_or_whose_first_step_is_not_known_is_not() -> None:
    assert describe_zero_gradients(steps(0.3, 0.0, 0.0), 3) is None
    assert describe_zero_gradients(steps(0.0, 0.0, first=10), 20) is None
    assert describe_zero_gradients([], 0) is None


def test_a_loss_without_a_gradient_is_told_in_the_log_and_in_the_report(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = Trainer.__init__

    def init(self: Trainer, *arguments: object, **more: object) -> None:
        real(self, *arguments, **more)  # type: ignore[arg-type]
        loss = self.loss

        def detached(x: LossInput) -> LossOutput:
            output = loss(x)
            return LossOutput(mx.stop_gradient(output.losses), output.chosen_rewards, output.rejected_rewards)

        self.loss = detached

    monkeypatch.setattr(Trainer, "__init__", init)
    with caplog.at_level(logging.WARNING):
        outcome = run_training(job(home, tiny_model, pairs_file, "cpo", training={"epochs": 1}))
    assert any(warning.startswith("the gradient was 0 at all of the") for warning in outcome.summary.warnings)
    assert any("the gradient was 0 at the first step" in record.message for record in caplog.records)
