"""What a client's losses and steps do to the policy: compared with one graph of the model's own logits, in two precisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_map, tree_unflatten

from prefd.daemon.worker.live.learner import Learner
from prefd.daemon.worker.scoring.trunk import list_arrays
from prefd.daemon.worker_tasks.live_requests import (
    AdamParams,
    Datum,
    ForwardBackwardRequest,
    ForwardRequest,
)
from support import tiny_model as tiny
from support.full_logits import completion, naive
from support.live_sessions import load, make_datum, make_session
from support.numpy_llama import compute_logprobs

SEQUENCES = [completion(length, 1, seed) for seed, length in enumerate((9, 30, 17))]
WEIGHTS = [np.random.default_rng(seed).normal(size=len(each.ids) - 1) for seed, each in enumerate(SEQUENCES)]
DATA = [make_datum(each.ids.tolist(), weights.tolist()) for each, weights in zip(SEQUENCES, WEIGHTS)]


@pytest.fixture
def learner(home: Path, tiny_model: Path) -> Learner:
    """A policy whose adapter is no longer zero, so that every array has a gradient."""
    learner = load(make_session(home, tiny_model)).learner
    assert learner is not None
    learner.compute_loss(ForwardBackwardRequest(n=1, data=DATA))
    learner.take_step(AdamParams(learning_rate=0.05))
    return learner


def sum_loss(model: nn.Module, dtype: Any = mx.float32) -> mx.array:
    """The weighted loss of all sequences, from the logits of each alone."""
    total = mx.array(0.0, dtype)
    for each, weights in zip(SEQUENCES, WEIGHTS):
        logits = model(mx.array(each.ids[None, :-1].astype(np.int32)))[0].astype(dtype)
        targets = mx.array(each.ids[1:].astype(np.int32))
        logprobs = mx.take_along_axis(logits, targets[:, None], -1)[:, 0] - mx.logsumexp(logits, -1)
        total = total - (logprobs * mx.array(weights, dtype=dtype)).sum()
    return total


def test_gradient_is_that_of_one_graph_of_full_logits_in_each_array(learner: Learner) -> None:
    result = learner.compute_loss(ForwardBackwardRequest(n=2, data=DATA))
    model = learner.policy.model
    loss, expected = nn.value_and_grad(model, lambda: sum_loss(model))()
    assert result.metrics["loss:sum"] == pytest.approx(float(loss.item()), abs=1e-4)
    expected_arrays = dict(list_arrays(expected))
    own_arrays = dict(list_arrays(learner.gradient))
    assert own_arrays.keys() == expected_arrays.keys()
    for name, own in own_arrays.items():
        difference = np.linalg.norm(np.array(own) - np.array(expected_arrays[name]))
        assert difference <= 1e-4 * np.linalg.norm(np.array(expected_arrays[name])), name


def test_gradient_is_the_slope_that_numpy_measures_in_float64_along_each_array(learner: Learner) -> None:
    learner.compute_loss(ForwardBackwardRequest(n=2, data=DATA))
    weights = {name: np.array(each, np.float64) for name, each in list_arrays(learner.policy.model.parameters())}
    config, generator, width = tiny.LLAMA | {"scale": 8.0}, np.random.default_rng(0), 1e-4

    def measure_loss(name: str, values: np.ndarray[Any, Any]) -> float:
        moved = weights | {name: values}
        return -sum(
            float((compute_logprobs(moved, config, each.ids) * factors).sum())
            for each, factors in zip(SEQUENCES, WEIGHTS)
        )

    for name, gradient in list_arrays(learner.gradient):
        own = np.array(gradient, np.float64)
        direction = own / np.linalg.norm(own) + generator.normal(size=own.shape) / np.sqrt(own.size)
        ahead, behind = (measure_loss(name, weights[name] + side * width * direction) for side in (1, -1))
        slope = (ahead - behind) / (2 * width)
        assert slope == pytest.approx((own * direction).sum(), abs=1e-4 * float(np.linalg.norm(own))), name


def test_forward_gives_the_log_probability_of_every_target_and_leaves_no_gradient(learner: Learner) -> None:
    result = learner.compute_loss(ForwardRequest(n=2, data=[make_datum(each.ids.tolist()) for each in SEQUENCES]))
    assert learner.gradient is None
    for each, output in zip(SEQUENCES, result.loss_fn_outputs):
        np.testing.assert_allclose(output.logprobs, naive(learner.policy.model, each), atol=1e-5)
    total = -sum(sum(output.logprobs) for output in result.loss_fn_outputs)
    assert result.metrics["loss:sum"] == pytest.approx(total)


def test_gradients_of_two_requests_add_up_to_that_of_one(learner: Learner) -> None:
    learner.compute_loss(ForwardBackwardRequest(n=2, data=DATA))
    whole = {name: np.array(value) for name, value in list_arrays(learner.gradient)}
    learner.gradient = None
    for n, part in enumerate((DATA[:1], DATA[1:]), 2):
        learner.compute_loss(ForwardBackwardRequest(n=n, data=part))
    for name, value in list_arrays(learner.gradient):
        np.testing.assert_allclose(np.array(value), whole[name], atol=1e-5, rtol=1e-4)


def test_importance_sampling_is_the_ratio_times_the_advantage(learner: Learner) -> None:
    """L = Σ −exp(logprob − the sampler's) · advantage; its slope in a logprob is itself."""
    ids = SEQUENCES[0].ids.tolist()
    own = learner.compute_loss(ForwardRequest(n=2, data=[make_datum(ids)])).loss_fn_outputs[0].logprobs
    datum = Datum(tokens=ids[:-1], targets=ids[1:], logprobs=[x - 0.5 for x in own], advantages=[2.0] * len(own))
    request = ForwardBackwardRequest(n=3, data=[datum], loss_fn="importance_sampling")
    result = learner.compute_loss(request)
    assert result.metrics["loss:sum"] == pytest.approx(-2 * np.exp(0.5) * len(own), rel=1e-5)
    by_ratio = {name: np.array(value) for name, value in list_arrays(learner.gradient)}
    learner.gradient = None
    same = make_datum(ids, [2 * float(np.exp(0.5))] * len(own))
    learner.compute_loss(ForwardBackwardRequest(n=4, data=[same]))
    for name, value in list_arrays(learner.gradient):
        np.testing.assert_allclose(by_ratio[name], np.array(value), rtol=1e-4, atol=1e-5)


def test_a_step_is_torchs_adamw(home: Path, tiny_model: Path) -> None:
    """Bias-corrected, decoupled decay, eps outside the root, the gradient's norm clipped; settings change from step to step."""
    learner = load(make_session(home, tiny_model)).learner
    assert learner is not None
    settings = [AdamParams(learning_rate=1e-2, weight_decay=0.1, grad_clip_norm=0.5), AdamParams(beta1=0.8, eps=1e-8)]
    weights = {
        name: np.array(each, np.float64) for name, each in list_arrays(learner.policy.model.trainable_parameters())
    }
    first, second = ({name: np.zeros_like(each) for name, each in weights.items()} for _ in range(2))
    for step, params in enumerate(settings, 1):
        learner.compute_loss(ForwardBackwardRequest(n=step, data=DATA))
        gradients = {name: np.array(each, np.float64) for name, each in list_arrays(learner.gradient)}
        norm = np.sqrt(sum((each**2).sum() for each in gradients.values()))
        metrics = learner.take_step(params)
        assert metrics == {"optim/grad_norm:last": pytest.approx(norm), "optim/step:last": step}
        for name, gradient in gradients.items():
            clipped = gradient * min(1.0, params.grad_clip_norm / norm if params.grad_clip_norm else 1.0)
            first[name] = params.beta1 * first[name] + (1 - params.beta1) * clipped
            second[name] = params.beta2 * second[name] + (1 - params.beta2) * clipped**2
            scale = np.sqrt(second[name] / (1 - params.beta2**step)) + params.eps
            decayed = weights[name] * (1 - params.learning_rate * params.weight_decay)
            weights[name] = decayed - params.learning_rate * first[name] / (1 - params.beta1**step) / scale
    for name, value in list_arrays(learner.policy.model.trainable_parameters()):
        np.testing.assert_allclose(np.array(value), weights[name], atol=2e-6, err_msg=name)
    assert learner.gradient is None


def test_an_accumulated_gradient_is_the_tree_that_a_saved_one_is_loaded_as(learner: Learner) -> None:
    """A restored session adds to the one, and steps with an optimizer whose state was loaded like the other."""
    learner.compute_loss(ForwardBackwardRequest(n=2, data=DATA))
    named = list_arrays(learner.gradient)
    assert tree_map(lambda leaf: leaf.shape, learner.gradient) == tree_map(
        lambda leaf: leaf.shape, tree_unflatten(named)
    )
