"""contrib/prefd-bradley-terry: a plugin as a stranger would ship it, alone and installed beside prefd."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from prefd.daemon.machine import blas
from prefd.plugins.conformance import assert_conforms
from prefd.plugins.schema import schema_of
from prefd.plugins.types import Logprobs, LossInput, LossOutput
from support import contrib_module
from support.contrib_module import build_wheel, pip
from support.once import make_once

DIST = contrib_module.CONTRIB / "prefd-bradley-terry"
plugin = contrib_module.load("prefd-bradley-terry/src/prefd_bradley_terry/__init__.py")


def side(rng: np.random.Generator, lengths: list[int]) -> Logprobs:
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.float32)
    return Logprobs(mx.array(-rng.exponential(2.0, mask.shape).astype(np.float32) * mask), mx.array(mask))


def batch(seed: int = 0) -> LossInput:
    rng = np.random.default_rng(seed)
    return LossInput(side(rng, [3, 7, 1, 12]), side(rng, [9, 2, 5, 11]))


def strengths(logprobs: Logprobs, length_normalize: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
    tokens, mask = (np.array(each, dtype=np.float64) for each in logprobs)
    return tokens.sum(-1) / (mask.sum(-1) if length_normalize else 1.0)


@pytest.mark.parametrize("length_normalize", [False, True])
def test_values_equal_float64(length_normalize: bool) -> None:
    x = batch()
    chosen, rejected = strengths(x.policy_chosen, length_normalize), strengths(x.policy_rejected, length_normalize)
    margin = chosen - rejected
    output: LossOutput = plugin.bradley_terry(x, length_normalize=length_normalize)
    np.testing.assert_allclose(np.array(output.losses), np.log1p(np.exp(-margin)), rtol=1e-5)
    np.testing.assert_allclose(np.array(output.chosen_rewards), chosen, rtol=1e-5)
    np.testing.assert_allclose(np.array(output.rejected_rewards), rejected, rtol=1e-5)
    np.testing.assert_array_equal(np.array(output.metrics["pair_accuracy"]), margin > 0)
    np.testing.assert_allclose(np.array(output.metrics["mean_margin"]), margin, rtol=1e-5)


@pytest.mark.parametrize("length_normalize", [False, True])
def test_gradient_equals_float64(length_normalize: bool) -> None:
    x = batch(1)

    def total(tokens: mx.array) -> mx.array:
        moved = LossInput(Logprobs(tokens, x.policy_chosen.mask), x.policy_rejected)
        output: LossOutput = plugin.bradley_terry(moved, length_normalize=length_normalize)
        return output.losses.sum()

    margin = strengths(x.policy_chosen, length_normalize) - strengths(x.policy_rejected, length_normalize)
    mask = np.array(x.policy_chosen.mask, dtype=np.float64)
    share = mask / mask.sum(-1, keepdims=True) if length_normalize else mask
    expected = -share / (1 + np.exp(margin))[:, None]
    np.testing.assert_allclose(np.array(mx.grad(total)(x.policy_chosen.tokens)), expected, rtol=1e-5, atol=1e-9)


def test_equal_sides_give_ln_2() -> None:
    x = batch()
    same: LossOutput = plugin.bradley_terry(LossInput(x.policy_chosen, x.policy_chosen))
    np.testing.assert_allclose(np.array(same.losses), math.log(2), rtol=1e-6)


@pytest.mark.parametrize("margin", [-80.0, -12.0, 0.5, 12.0, 80.0])
def test_gradient_keeps_its_digits_far_from_zero(margin: float) -> None:
    one = mx.ones((1, 1))

    def loss(tokens: mx.array) -> mx.array:
        output: LossOutput = plugin.bradley_terry(LossInput(Logprobs(tokens, one), Logprobs(0 * one, one)))
        return output.losses.sum()

    assert mx.grad(loss)(margin * one).item() == pytest.approx(-1 / (1 + math.exp(margin)), rel=1e-5)


@pytest.mark.parametrize(("margin", "loss"), [(-3000.0, 3000.0), (3000.0, 0.0)])
def test_extreme_margins_stay_finite(margin: float, loss: float) -> None:
    one = mx.ones((1, 1))
    output: LossOutput = plugin.bradley_terry(LossInput(Logprobs(margin * one, one), Logprobs(0 * one, one)))
    assert output.losses.item() == loss


def test_what_lies_under_the_padding_does_not_count() -> None:
    x = batch()
    dirty = Logprobs(mx.where(x.policy_chosen.mask > 0, x.policy_chosen.tokens, -99.0), x.policy_chosen.mask)
    clean: LossOutput = plugin.bradley_terry(x)
    output: LossOutput = plugin.bradley_terry(LossInput(dirty, x.policy_rejected))
    assert mx.array_equal(output.losses, clean.losses)


def test_it_conforms() -> None:
    assert_conforms(plugin.bradley_terry, "bradley_terry")


def test_schema_is_read_off_the_signature() -> None:
    schema = schema_of("bradley_terry", plugin.bradley_terry)
    assert schema.params == {"length_normalize": {"type": "boolean", "default": False}}
    assert not schema.needs_reference


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the plugin in it, which also sees this one's packages."""
    folder = tmp_path_factory.mktemp("installed")
    return Path(make_once(tmp_path_factory, "installed-plugin", lambda: str(install(folder))))


def install(folder: Path) -> Path:
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    # A copy is built, because setuptools writes beside the sources.
    shutil.copytree(DIST, folder / "dist", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    wheel = build_wheel(folder / "dist", folder)
    pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    paths = {"base": str(environment), "platbase": str(environment)}
    here = sysconfig.get_path("purelib")
    parent = Path(sysconfig.get_path("purelib", vars=paths)) / "parent.pth"
    parent.write_text(f"import site; site.addsitedir({here!r})\n", encoding="utf-8")
    return python


def prefd(python: Path, home: Path, *arguments: str) -> Any:
    """What `prefd ARGUMENTS --json` prints in the environment of `python`."""
    environment = os.environ | {"PREFD_HOME": str(home)}
    if library := blas.preload():
        environment["PREFD_BLAS"] = library  # the new environment has none of its own
    command = [str(python), "-P", "-m", "prefd.daemon.cli", *arguments, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.thorough  # the next test trains with it
def test_installed_plugin_is_listed_with_what_it_brings(python: Path, home: Path) -> None:
    plugins_by_name = {plugin["name"]: plugin for plugin in prefd(python, home, "plugins")["plugins"]}
    (name,) = (name for name in plugins_by_name if "bradley" in name)
    assert plugins_by_name[name]["losses"] == ["bradley_terry"]
    assert plugins_by_name[name]["version"] == "0.1.0"
    assert plugins_by_name[name]["source"] == "entry point"
    assert plugins_by_name[name]["error"] is None
    (loss,) = prefd(python, home, "losses", "bradley_terry")["losses"].values()
    assert loss["needs_reference"] is False
    assert loss["summary"].startswith("Bradley-Terry")


@pytest.mark.slow
def test_installed_loss_trains_a_job_and_logs_its_metrics(
    python: Path, home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    spec = pairs_file.with_name("bt.json")
    spec.write_text(
        json.dumps(
            {
                "model": str(tiny_model),
                "data": {"path": pairs_file.name, "validation": 0.0},
                "loss": {"name": "bradley_terry", "length_normalize": True},
                "training": {"iters": 12, "batch_size": 4, "learning_rate": 1e-3, "lora": {"rank": 4}},
            }
        ),
        encoding="utf-8",
    )
    ended = prefd(python, home, "run", str(spec))
    assert ended["job"]["state"] == "done"
    folder = Path(ended["run"])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert len(steps) == 12
    assert all(0 <= step["pair_accuracy"] <= 1 for step in steps)
    # Its margin is what it reports as rewards, and pulling it apart is what the loss is for.
    for step in steps:
        assert step["mean_margin"] == pytest.approx(step["rewards/chosen"] - step["rewards/rejected"], abs=1e-3)
    assert steps[-1]["mean_margin"] > steps[0]["mean_margin"]
    assert (folder / "adapter" / "adapters.safetensors").exists()
    assert ended["precompute"] is None  # a loss without a reference has nothing to score
