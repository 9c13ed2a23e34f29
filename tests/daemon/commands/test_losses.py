"""`prefd losses` and `prefd plugins`, from the catalogue that a real child makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.timing import Timing
from support.homes import invoke

pytestmark = pytest.mark.usefixtures("answers_in_process")

BUILT_IN = ["sigmoid", "hinge", "ipo", "dpop", "cpo", "cpo_hinge", "cpo_ipo", "cpo_dpop", "simpo", "sft"]

PLUGIN = '''
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import LossInput, LossOutput, declare

def halves(x: LossInput, *, share: float = 0.5) -> LossOutput:
    """Half of everything."""
    raise NotImplementedError

@declare(batch_independent=False)
def centred(x: LossInput) -> LossOutput:
    """Against the batch's mean."""
    margins = x.policy_chosen.sums - x.policy_rejected.sums
    return LossOutput(margins.mean() - margins, 0 * margins, 0 * margins)

@hookimpl
def register_losses(register):
    register("halves", halves)
    register("centred", centred)
'''


def test_losses_lists_the_built_in_ones_without_a_home(home: Path) -> None:
    result = invoke(Home(home), "losses")
    assert result.exit_code == Exit.OK, result.output
    listed = {line.split()[0]: line for line in result.stdout.splitlines()[1:]}
    assert set(BUILT_IN) <= listed.keys()
    assert listed["dpop"].split()[1] == "yes"
    assert listed["cpo"].split()[1] == "no"
    assert "delta=50" in listed["dpop"]


def test_losses_json_is_the_schema_of_each(home: Path) -> None:
    losses = json.loads(invoke(Home(home), "losses", "--json").stdout)["losses"]
    length_normalize = losses["ipo"]["params"]["length_normalize"]
    assert {key: length_normalize[key] for key in ("type", "default")} == {"type": "boolean", "default": True}
    assert losses["ipo"]["purpose"] == "for noisy or contradictory labels"
    assert [
        name for loss in losses.values() for name, param in loss["params"].items() if not param["description"]
    ] == []
    assert losses["cpo_dpop"]["needs_reference"] is False
    assert list(json.loads(invoke(Home(home), "losses", "hinge", "--json").stdout)["losses"]) == ["hinge"]


def test_a_check_that_hangs_is_ended_and_the_step_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # a worker of its own, which can be ended
    result = invoke(Home(home), "check-loss", "dpop", timing=Timing(loss_check=0.1))
    assert result.exit_code == Exit.FAILED
    assert "trying the loss dpop took longer than 0.1 s: does it hang?" in result.stderr


def test_one_loss_is_explained(home: Path) -> None:
    shown = invoke(Home(home), "losses", "dpop").stdout
    assert "beta" in shown
    assert "> 0" in shown
    assert "delta" in shown
    assert "needed" in shown
    assert len(shown.splitlines()) > 8, "its docstring is there"


def test_a_misspelt_loss_gets_suggestions(home: Path) -> None:
    result = invoke(Home(home), "losses", "sigmiod")
    assert result.exit_code == Exit.NOT_FOUND
    assert "did you mean sigmoid" in result.stderr


@pytest.fixture
def with_plugin(home: Path) -> Home:
    there = Home(home)
    there.create()
    (there.root / "good.py").write_text(PLUGIN)
    (there.root / "bad.py").write_text("import not_installed_anywhere\n")
    there.config.write_text('plugins = ["good.py", "bad.py"]\n')
    return there


def test_plugins_shows_what_each_brings_and_why_one_failed(with_plugin: Home) -> None:
    result = invoke(with_plugin, "plugins")
    assert result.exit_code == Exit.OK, result.output
    assert "halves" in result.stdout
    assert "sigmoid" in result.stdout
    assert "not_installed_anywhere" in result.stderr
    plugins = json.loads(invoke(with_plugin, "plugins", "--json").stdout)["plugins"]
    assert [plugin["losses"] for plugin in plugins if plugin["error"]] == [[]]
    assert "share=0.5" in invoke(with_plugin, "losses").stdout


def test_a_sound_loss_passes_every_check(home: Path) -> None:
    result = invoke(Home(home), "check-loss", "dpop")
    assert result.exit_code == Exit.OK, result.output
    results = [line.split()[:2] for line in result.stdout.splitlines()[1:]]
    assert {"finite", "gradient", "batch", "reference"} <= {check for check, _ in results}
    assert {verdict for _, verdict in results} == {"ok"}


def test_a_broken_loss_fails_with_the_reason(with_plugin: Home) -> None:
    result = invoke(with_plugin, "check-loss", "halves", "--json")
    assert result.exit_code == Exit.FAILED
    report = json.loads(result.stdout)
    assert (report["loss"], report["ok"]) == ("halves", False)
    (shapes,) = [check for check in report["checks"] if check["check"] == "shapes"]
    assert (shapes["result"], shapes["detail"]) == ("failed", "it raised NotImplementedError")


def test_a_loss_that_cannot_be_checked_is_not_found_with_the_nearest_and_what_failed(with_plugin: Home) -> None:
    result = invoke(with_plugin, "check-loss", "halve")
    assert result.exit_code == Exit.NOT_FOUND
    assert "did you mean halves" in result.stderr
    assert "plugin bad could not be loaded: ModuleNotFoundError" in result.stderr


def test_a_loss_that_depends_on_its_batch_says_so(with_plugin: Home) -> None:
    assert "training.batch_size is part of it" in invoke(with_plugin, "losses", "centred").stdout
    assert "batch_size" not in invoke(with_plugin, "losses", "sigmoid").stdout


def test_a_broken_config_is_an_error_with_its_path(home: Path) -> None:
    there = Home(home)
    there.create()
    there.config.write_text("plugin = []\n")
    result = invoke(there, "losses")
    assert result.exit_code == Exit.FAILED
    assert str(there.config) in result.stderr
    assert "plugins" in result.stderr


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_loss_says_what_it_is(home: Path, name: str) -> None:
    assert len(json.loads(invoke(Home(home), "losses", name, "--json").stdout)["losses"][name]["summary"]) > 10


@pytest.mark.slow
def test_a_loss_that_ends_its_process_is_named_and_no_warning_is_given_as_the_reason(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a plugin that ends the process as soon as it is imported."""
    monkeypatch.undo()  # a worker of its own, which can end
    monkeypatch.setenv("PREFD_BLAS", "/no/such/blas")
    home.mkdir()
    (home / "ends.py").write_text("import os; os._exit(3)")
    (home / "mine.py").write_text(
        PLUGIN.replace("raise NotImplementedError", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    )
    (home / "config.toml").write_text('plugins = ["ends.py", "mine.py"]')
    result = invoke(Home(home), "check-loss", "halves")
    assert result.stderr.strip().endswith("the worker ended with SIGSEGV while trying the loss halves")
