"""Curves of losses against their formulas, and of every loss that there is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.look.curve import compute_curve
from prefd.daemon.worker_tasks.looks import CurveQuestion
from prefd.plugins.manager import LossParameterError, load_plugins
from prefd.plugins.types import LossInput, LossOutput, declare

PLUGINS = load_plugins()


def test_the_curve_of_dpo_is_its_formula() -> None:
    curve = compute_curve(PLUGINS, CurveQuestion(name="sigmoid", params={"beta": "0.3"}, points=41))
    z = np.array(curve.z)
    np.testing.assert_allclose(np.array(curve.loss, float), np.log1p(np.exp(-0.3 * z)), rtol=1e-5)
    np.testing.assert_allclose(np.array(curve.slope, float), -0.3 / (1 + np.exp(0.3 * z)), rtol=1e-5)
    assert curve.params == {"beta": 0.3, "label_smoothing": 0.0}


def test_a_mean_per_token_is_the_same_z_as_a_sum() -> None:
    for value in ("true", "false"):
        curve = compute_curve(
            PLUGINS, CurveQuestion(name="ipo", params={"length_normalize": value}, low=-2, high=8, points=3)
        )
        np.testing.assert_allclose(np.array(curve.loss, float), [49, 4, 9], rtol=1e-5)


@pytest.mark.parametrize("name", sorted(PLUGINS.losses))
def test_every_loss_has_a_curve(name: str) -> None:
    curve = compute_curve(PLUGINS, CurveQuestion(name=name, points=5))
    assert all(value is not None and math.isfinite(value) for value in (*curve.loss, *curve.slope))


def test_a_loss_that_looks_across_its_batch_gets_one_pair_at_a_time() -> None:
    @declare(batch_independent=False)
    def centred(x: LossInput) -> LossOutput:
        """The distance from the batch's mean."""
        sums = x.policy_chosen.sums
        return LossOutput(sums - sums.mean(), sums, sums)

    plugins = load_plugins()
    registered = PLUGINS.losses["sigmoid"]
    schema = replace(registered.schema, batch_independent=False, params={})
    plugins.losses["centred"] = replace(registered, name="centred", loss=centred, schema=schema)
    assert compute_curve(plugins, CurveQuestion(name="centred", points=3)).loss == [0.0, 0.0, 0.0]


def test_what_cannot_be_drawn_is_told() -> None:
    with pytest.raises(JobError, match="no loss is called 'sigmod'; did you mean"):
        compute_curve(PLUGINS, CurveQuestion(name="sigmod"))
    with pytest.raises(LossParameterError, match=r"sigmoid\.beta: .*0"):
        compute_curve(PLUGINS, CurveQuestion(name="sigmoid", params={"beta": "-1"}))
    with pytest.raises(LossParameterError, match=r"sigmoid\.beta"):
        compute_curve(PLUGINS, CurveQuestion(name="sigmoid", params={"beta": "much"}))
    with pytest.raises(JobError, match="within ±40, not from 3 to 3"):
        compute_curve(PLUGINS, CurveQuestion(name="sigmoid", low=3, high=3))
