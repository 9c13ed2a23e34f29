"""`prefd losses` and `prefd plugins`, from the catalogue that a real child makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from homes import invoke

from prefd.daemon.commands.errors import Exit
from prefd.daemon.home import Home

BUILT_IN = ["sigmoid", "hinge", "ipo", "dpop", "cpo", "cpo_hinge", "cpo_ipo", "cpo_dpop"]

PLUGIN = '''
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import LossInput, LossOutput

def halves(x: LossInput, *, weight: float = 0.5) -> LossOutput:
    """Half of everything."""
    raise NotImplementedError

@hookimpl
def register_losses(register):
    register("halves", halves)
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
    assert losses["ipo"]["params"]["length_normalize"] == {"type": "boolean", "default": True}
    assert losses["cpo_dpop"]["needs_reference"] is False
    assert list(json.loads(invoke(Home(home), "losses", "hinge", "--json").stdout)["losses"]) == ["hinge"]


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


def test_plugins_shows_what_each_brings_and_why_one_failed(home: Path) -> None:
    there = Home(home)
    there.create()
    (there.root / "good.py").write_text(PLUGIN)
    (there.root / "bad.py").write_text("import not_installed_anywhere\n")
    there.config.write_text('plugins = ["good.py", "bad.py"]\n')
    result = invoke(there, "plugins")
    assert result.exit_code == Exit.OK, result.output
    assert "halves" in result.stdout
    assert "sigmoid" in result.stdout
    assert "not_installed_anywhere" in result.stderr
    plugins = json.loads(invoke(there, "plugins", "--json").stdout)["plugins"]
    assert [plugin["losses"] for plugin in plugins if plugin["error"]] == [[]]
    assert "weight=0.5" in invoke(there, "losses").stdout


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
