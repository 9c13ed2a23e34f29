"""Which losses jump where the policy is the reference, and which take notice of rounding."""

from __future__ import annotations

import mlx.core as mx
import pytest

from prefd.plugins.conformance.kinks import jumps_at_reference
from prefd.plugins.losses.dpo import logratios
from prefd.plugins.losses.logits import beyond, output
from prefd.plugins.manager import load_plugins
from prefd.plugins.types import LossInput, LossOutput

LOSSES = load_plugins().losses


def distance(x: LossInput) -> LossOutput:
    """|z|"""
    chosen, rejected = logratios(x)
    return output(mx.abs(chosen - rejected), 1.0, chosen, rejected)


def one_side(x: LossInput) -> LossOutput:
    """max(0, −log-ratio of the rejected side)"""
    chosen, rejected = logratios(x)
    return output(mx.maximum(-rejected, 0), 1.0, chosen, rejected)


def one_side_beyond_rounding(x: LossInput) -> LossOutput:
    """The same, taking notice of the noise."""
    chosen, rejected = logratios(x)
    return output(beyond(-rejected, x.rejected_noise), 1.0, chosen, rejected)


@pytest.mark.parametrize("loss", [distance, one_side])
def test_a_gradient_that_jumps_at_the_reference_is_seen(loss: object) -> None:
    assert jumps_at_reference(loss)  # type: ignore[arg-type]


def test_a_loss_that_counts_what_is_within_the_noise_as_0_does_not_jump() -> None:
    assert not jumps_at_reference(one_side_beyond_rounding)


@pytest.mark.parametrize("beta", [10.0, 1e3])
@pytest.mark.parametrize("name", ["sigmoid", "hinge", "ipo", "dpop"])
def test_a_steep_loss_that_is_smooth_does_not_jump(name: str, beta: float) -> None:
    assert not jumps_at_reference(LOSSES[name].create({"beta": beta}))


@pytest.mark.parametrize("name", [name for name, each in LOSSES.items() if each.schema.needs_reference])
def test_no_loss_of_prefd_jumps(name: str) -> None:
    assert not jumps_at_reference(LOSSES[name].create({}), LOSSES[name].schema.unpaired)
