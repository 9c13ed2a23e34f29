"""contrib/prefd-trl-losses against float64 numpy, through the conformance kit, and installed beside prefd."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from prefd.plugins.conformance import Finding, check_loss
from prefd.plugins.manager import load_plugins
from prefd.plugins.schema import schema_of
from prefd.plugins.types import Logprobs, Loss, LossInput, LossOutput
from prefd.plugins.unpaired import adapt
from support import contrib_module
from support.contrib_module import pip
from support.loss_numbers import Array, Numbers, Tokens, assert_equals_float64, total
from support.trl_numbers import TABLE, assert_equals_trl

DIST = contrib_module.CONTRIB / "prefd-trl-losses"
package = contrib_module.load_package("prefd-trl-losses/src/prefd_trl_losses")
LOSSES: dict[str, Loss] = {}
package.register_losses(LOSSES.__setitem__)

OF_TRL = ["robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired"]
OF_TRL += ["apo_zero", "apo_down", "discopop", "sigmoid_norm"]


def sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0, -x))


def minus_log_sigmoid(x: Array) -> Array:
    return np.logaddexp(0, -x)


@dataclass
class Ratios:
    """A batch's log-ratios in float64, each (B,)."""

    chosen: Array
    rejected: Array

    @property
    def z(self) -> Array:
        return self.chosen - self.rejected


def sums(n: Numbers, tokens: Tokens, normalize: bool = False) -> dict[str, Array]:
    return {name: total(tokens[name], n.mask[name[1]], normalize) for name in tokens}


def ratios(n: Numbers, tokens: Tokens, normalize: bool = False) -> Ratios:
    of = sums(n, tokens, normalize)
    return Ratios(of["pc"] - of["fc"], of["pr"] - of["fr"])


def smoothed(x: Array, e: float) -> Array:
    return (1 - e) * minus_log_sigmoid(x) + e * minus_log_sigmoid(-x)


def robust(r: Ratios, b: float, e: float) -> Array:
    return ((1 - e) * minus_log_sigmoid(b * r.z) - e * minus_log_sigmoid(-b * r.z)) / (1 - 2 * e)


def exo(r: Ratios, b: float, e: float) -> Array:
    q = np.stack([sigmoid(b * r.z), sigmoid(-b * r.z)])
    p = np.array([[1 - e], [e]])
    return (q * (np.log(q) - np.log(p))).sum(0)


def nca(r: Ratios, b: float) -> Array:
    liked, disliked = b * r.chosen, b * r.rejected
    return minus_log_sigmoid(liked) + (minus_log_sigmoid(-liked) + minus_log_sigmoid(-disliked)) / 2


def bco(r: Ratios, b: float, shift: float) -> Array:
    return minus_log_sigmoid(b * r.chosen - shift) + minus_log_sigmoid(-(b * r.rejected - shift))


def sppo(r: Ratios, b: float) -> Array:
    return (r.chosen - 0.5 / b) ** 2 + (r.rejected + 0.5 / b) ** 2


def disco(r: Ratios, b: float, tau: float) -> Array:
    m = b * r.z
    mix = sigmoid(m / tau)
    return minus_log_sigmoid(m) * (1 - mix) + np.exp(-m) * mix


BY_HAND: dict[str, tuple[dict[str, Any], Callable[[Ratios], Array]]] = {
    "robust": ({"beta": 0.3, "label_smoothing": 0.2}, lambda r: robust(r, 0.3, 0.2)),
    "exo_pair": ({"beta": 0.3, "label_smoothing": 0.01}, lambda r: exo(r, 0.3, 0.01)),
    "nca_pair": ({"beta": 0.3}, lambda r: nca(r, 0.3)),
    "bco_pair": ({"beta": 0.3, "reward_shift": False}, lambda r: bco(r, 0.3, 0.0)),
    "sppo_hard": ({"beta": 0.3}, lambda r: sppo(r, 0.3)),
    "apo_zero": ({"beta": 0.3}, lambda r: 1 - sigmoid(0.3 * r.chosen) + sigmoid(0.3 * r.rejected)),
    "apo_down": ({"beta": 0.3}, lambda r: sigmoid(0.3 * r.chosen) + 1 - sigmoid(0.3 * r.z)),
    "discopop": ({"beta": 0.3, "tau": 0.2}, lambda r: disco(r, 0.3, 0.2)),
    "sigmoid_forward_kl": ({"beta": 0.3}, lambda r: minus_log_sigmoid(0.3 * (np.exp(-r.rejected) - np.exp(-r.chosen)))),
    "sigmoid_js": (
        {"beta": 0.3},
        lambda r: minus_log_sigmoid(0.3 * (minus_log_sigmoid(r.rejected) - minus_log_sigmoid(r.chosen))),
    ),
    "sigmoid_alpha": (
        {"beta": 0.3, "alpha": 0.7},
        lambda r: minus_log_sigmoid(0.3 * (np.exp(-0.3 * r.chosen) - np.exp(-0.3 * r.rejected)) / -0.3),
    ),
}


def test_every_loss_of_trl_is_there() -> None:
    more = ["ld_sigmoid", "sigmoid_forward_kl", "sigmoid_js", "sigmoid_alpha", "orpo", "alphapo", "apo_zero_unpaired"]
    assert sorted(LOSSES) == sorted([*OF_TRL, *more])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", BY_HAND)
def test_values_and_gradients_equal_float64(name: str, seed: int) -> None:
    n = Numbers(seed)
    params, by_hand = BY_HAND[name]
    assert_equals_float64(LOSSES[name](**params), n, lambda tokens: by_hand(ratios(n, tokens)))


def test_orpo_is_the_likelihood_and_the_odds_of_means() -> None:
    n, beta = Numbers(0), 0.3

    def by_hand(tokens: Tokens) -> Array:
        chosen, rejected = (total(tokens["p" + side], n.mask[side], normalize=True) for side in "cr")
        odds = [logp - np.log1p(-np.exp(logp)) for logp in (chosen, rejected)]
        return -chosen + beta * minus_log_sigmoid(odds[0] - odds[1])

    assert_equals_float64(LOSSES["orpo"](beta=beta), n, by_hand)


@pytest.mark.parametrize("alpha", [-0.5, 0.25])
def test_alphapo_bends_simpos_reward(alpha: float) -> None:
    n, beta, gamma = Numbers(1), 2.0, 0.4

    def by_hand(tokens: Tokens) -> Array:
        means = (total(tokens["p" + side], n.mask[side], normalize=True) for side in "cr")
        chosen, rejected = ((1 - np.exp(-alpha * mean)) / alpha for mean in means)
        return minus_log_sigmoid(beta * (chosen - rejected) - gamma)

    assert_equals_float64(LOSSES["alphapo"](beta=beta, gamma=gamma, alpha=alpha), n, by_hand)


def test_alphapo_without_a_bend_is_simpo_and_alpha_1_is_the_reverse_kl() -> None:
    x = Numbers(0).batch()
    own = load_plugins().losses
    for ours, theirs in (
        (LOSSES["alphapo"](alpha=0.0), own["simpo"].create({})),
        (LOSSES["sigmoid_alpha"](alpha=1.0), own["sigmoid"].create({})),
    ):
        np.testing.assert_allclose(np.array(ours(x).losses), np.array(theirs(x).losses), rtol=1e-6)


@pytest.mark.parametrize("name", [*TABLE["losses"]])
def test_it_is_what_trls_own_trainer_computes(name: str) -> None:
    settings = dict(TABLE["losses"][name]["settings"])
    plain = name.partition("_negative")[0]
    if plain == "simpo":
        settings.pop("alpha")
    own = load_plugins().losses
    if plain in own:
        loss = own[plain].create(settings)
    else:
        schema = schema_of(plain, LOSSES[plain])
        loss = adapt(LOSSES[plain](**settings)) if schema.unpaired else LOSSES[plain](**settings)
    assert_equals_trl(name, loss)


def test_sigmoid_norm_takes_the_mean_log_ratio_a_token() -> None:
    n = Numbers(0)
    assert_equals_float64(
        LOSSES["sigmoid_norm"](beta=2.0), n, lambda tokens: minus_log_sigmoid(2.0 * ratios(n, tokens, normalize=True).z)
    )


def test_bco_shifts_by_the_batchs_mean_reward_as_a_constant() -> None:
    n, beta = Numbers(0), 0.3

    def shift(tokens: Tokens) -> float:
        r = ratios(n, tokens)
        return float(np.concatenate([beta * r.chosen, beta * r.rejected]).mean())

    now = shift(n.tokens)
    assert_equals_float64(
        LOSSES["bco_pair"](beta=beta),
        n,
        lambda tokens: bco(ratios(n, tokens), beta, shift(tokens)),
        gradient_of=lambda tokens: bco(ratios(n, tokens), beta, now),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", ["aot", "aot_unpaired"])
def test_aot_compares_sorted_values(name: str, smoothing: float) -> None:
    n, beta = Numbers(1), 0.3

    def by_hand(tokens: Tokens) -> Array:
        of, r = sums(n, tokens), ratios(n, tokens)
        paired = of["pc"] - of["pr"], of["fc"] - of["fr"]
        values, others = paired if name == "aot" else (r.chosen, r.rejected)
        by_rank = smoothed(beta * (np.sort(values) - np.sort(others)), smoothing)
        return by_rank[np.argsort(np.argsort(values))]  # each loss at the pair that it moves

    assert_equals_float64(LOSSES[name](beta=beta, label_smoothing=smoothing), n, by_hand)


def test_aot_of_equal_values_still_takes_each_partner_once() -> None:
    values, others = mx.array([1.0, 1.0, 0.0]), mx.array([5.0, 3.0, 4.0])
    partners = package.transport.quantile_partners(values, others).tolist()
    assert sorted(partners) == [3.0, 4.0, 5.0]
    assert partners[2] == 3.0


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_ld_counts_the_tokens_beyond_the_shorter_answer_alpha_times(alpha: float) -> None:
    n, beta = Numbers(2), 0.3
    shorter = np.minimum(n.mask["c"].sum(-1), n.mask["r"].sum(-1))

    def weighed(tokens: Tokens, side: str) -> Array:
        ratios = (tokens["p" + side] - tokens["f" + side]) * n.mask[side]
        return np.array([row[:keep].sum() + alpha * row[keep:].sum() for row, keep in zip(ratios, shorter)])

    def by_hand(tokens: Tokens) -> Array:
        z = weighed(tokens, "c") - weighed(tokens, "r")
        return minus_log_sigmoid(beta * z)

    assert_equals_float64(LOSSES["ld_sigmoid"](beta=beta, ld_alpha=alpha), n, by_hand)


@functools.cache
def findings(name: str) -> list[Finding]:
    return check_loss(LOSSES[name], name)


@pytest.mark.parametrize("name", LOSSES)
def test_each_conforms(name: str) -> None:
    assert [each for each in findings(name) if each.result == "failed"] == []


def test_what_is_declared_is_what_the_readme_says() -> None:
    declared = {name: [each.check for each in findings(name) if each.result == "declared"] for name in LOSSES}
    assert {name: checks for name, checks in declared.items() if checks} == {
        "aot": ["batch"],
        "aot_unpaired": ["batch"],
        "bco_pair": ["gradient", "batch"],
    }
    readme = (DIST / "README.md").read_text(encoding="utf-8")
    for name, loss in LOSSES.items():
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{name}` |"))
        schema = schema_of(name, loss)
        for param, spec in schema.params.items():
            default = spec["default"]
            assert f"`{param}` {str(default).lower() if isinstance(default, bool) else format(default, 'g')}" in row
        assert ("the batch" in row) is not schema.batch_independent


@pytest.mark.parametrize("name", [*BY_HAND, "sigmoid_norm", "ld_sigmoid"])
def test_far_from_zero_it_stays_with_float64(name: str) -> None:
    """One token a side, log-ratios to 1e4: the value to float32's own digits, the gradient finite."""
    margins = np.array([-1e4, -300.0, -20.0, 0.0, 20.0, 300.0, 1e4])
    one, nothing = mx.ones((len(margins), 1)), mx.zeros((len(margins), 1))

    def losses(tokens: mx.array) -> mx.array:
        policy, reference = Logprobs(tokens, one), Logprobs(nothing, one)
        out: LossOutput = LOSSES[name](**params)(LossInput(policy, reference, reference, reference))
        return out.losses

    params, by_hand = BY_HAND.get(name, ({"beta": 0.3}, lambda r: minus_log_sigmoid(0.3 * r.z)))
    tokens = mx.array(margins[:, None].astype(np.float32))
    with np.errstate(all="ignore"):
        expected = by_hand(Ratios(margins, np.zeros_like(margins)))
    sound = (
        expected < np.finfo(np.float32).max
    )  # where the formula as written overflows neither in float64 nor in float32
    assert sound.sum() >= 3
    np.testing.assert_allclose(np.array(losses(tokens))[sound], expected[sound], rtol=1e-4, atol=1e-6)
    assert np.isfinite(np.array(mx.grad(lambda t: losses(t).sum())(tokens))).all()


@pytest.mark.slow
@pytest.mark.thorough  # whole/test_installed_plugin.py installs the other plugin
def test_installed_it_is_found_and_checked(tmp_path: Path, home: Path) -> None:
    target = tmp_path / "site"
    shutil.copytree(DIST, tmp_path / "dist", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    pip("install", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(target), str(tmp_path / "dist"))
    paths = os.pathsep.join(filter(None, [str(target), os.environ.get("PYTHONPATH")]))

    def prefd(*arguments: str) -> Any:
        command = [sys.executable, "-P", "-m", "prefd.daemon.cli", "--home", str(home), *arguments, "--json"]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    (plugin,) = (each for each in prefd("plugins")["plugins"] if "trl" in each["name"])
    assert (plugin["losses"], plugin["error"]) == (sorted(LOSSES), None)
    assert prefd("check-loss", "aot")["ok"]
