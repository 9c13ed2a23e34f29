"""WPO against float64 numpy and against TRL, and a job that trains with it."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from prefd.plugins.conformance import assert_conforms
from prefd.plugins.losses.wpo import WPO
from prefd.plugins.types import Logprobs
from support import jobs_on_disk
from support.jobs_on_disk import finished, metrics
from support.trl_numbers import TABLE, assert_equals_trl, make_input


def test_it_is_trls_weighting_of_sigmoid() -> None:
    assert_equals_trl("wpo", WPO(beta=0.3))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_it_is_the_formula_in_float64(smoothing: float) -> None:
    batch = {name: np.array(values) for name, values in TABLE["batch"].items()}
    mask = np.arange(batch["policy"].shape[1]) < batch["lengths"][:, None]
    half = len(mask) // 2
    aligned = ((batch["policy"] - batch["log_sum_squares"]) * mask).sum(-1) / batch["lengths"]
    ratios = ((batch["policy"] - batch["reference"]) * mask).sum(-1)
    margin = 0.3 * (ratios[:half] - ratios[half:])
    plain = (1 - smoothing) * np.logaddexp(0, -margin) + smoothing * np.logaddexp(0, margin)
    weights = np.exp(aligned[:half] + aligned[half:])
    out = WPO(beta=0.3, label_smoothing=smoothing)(make_input())
    np.testing.assert_allclose(np.array(out.losses), weights * plain, rtol=1e-5)
    np.testing.assert_allclose(np.array(out.metrics["weights"]), weights, rtol=1e-5)


def test_it_conforms_and_asks_for_the_distribution() -> None:
    assert_conforms(WPO, "wpo")
    x = make_input()
    bare = [Logprobs(*side) for side in (x.policy_chosen, x.policy_rejected)]
    with pytest.raises(ValueError, match="the policy's distribution at each token, and the batch has none"):
        WPO()(type(x)(*bare, x.reference_chosen, x.reference_rejected))


def test_a_job_computes_the_distribution_for_it(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    weighted = finished(jobs_on_disk.job(home, tiny_model, pairs_file, "wpo", training={"iters": 2}))
    first, second = metrics(weighted)
    assert first["loss"] == pytest.approx(first["weights"] * np.log(2), rel=1e-5)  # the policy is the reference
    assert 0 < first["weights"] < 1.5
    assert second["loss"] != first["loss"]
    assert "entropy" in first


def test_no_gradient_flows_through_its_weights() -> None:
    x = make_input()

    def weigh(tokens: mx.array) -> mx.array:
        chosen = x.policy_chosen._replace(tokens=tokens)
        return (
            WPO()(type(x)(chosen, x.policy_rejected, x.reference_chosen, x.reference_rejected)).metrics["weights"].sum()
        )

    assert not mx.any(mx.grad(weigh)(x.policy_chosen.tokens)).item()
