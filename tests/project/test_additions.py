"""A loss, a row format, a reporter and a command are each a file, a metric and a state each a row: in a copy, nothing else is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT

LOSS = '''
"""A loss that is there for a test."""
from dataclasses import dataclass
from typing import ClassVar
from prefd.plugins.losses.logits import output

@dataclass(frozen=True)
class Shrug:
    """Shrug: −z."""
    beta: float = 1.0
    needs_reference: ClassVar[bool] = False

    def __call__(self, x):
        chosen, rejected = x.policy_chosen.sums, x.policy_rejected.sums
        return output(self.beta * (rejected - chosen), self.beta, chosen, rejected)

LOSSES = {"shrug": Shrug}
'''
FORMAT = '''
"""A row format that is there for a test."""
from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.types import Pair

PRECEDENCE = 55

class Duel:
    def matches(self, row):
        return "victor" in row

    def pair(self, row):
        return Pair(row["question"], row["victor"], row["loser"])

@hookimpl
def register_formats(register):
    register("duel", Duel())
'''
REPORTER = '''
"""A reporter that is there for a test."""

class Whisper:
    """Whispers what it is told."""
    def open(self, run): ...

REPORTERS = {"whisper": Whisper()}
'''
COMMAND = '''
"""`prefd wave` greets."""
import click
from prefd.daemon.commands.shared.sections import HelpPlace, Section

PLACE = HelpPlace(Section.SHELL, 5)

@click.command()
def wave():
    """Greet those who read this."""
    click.echo("hello")
'''
CACHE_COMMAND = '''
"""`prefd cache weigh` weighs."""
import click

@click.command()
def weigh():
    """Weigh what is there."""
    click.echo("light")
'''
METRIC = """        Metric("spread", "Spread", "nats", meaning="for a test", of_pairs=lambda x, out: out.chosen_rewards),
        Metric(
            "grad_norm","""
REPORT = """
import json
import click
from click.testing import CliRunner
from prefd.daemon import cli
from prefd.daemon.jobs.states import STATES, RUNNING
from prefd.daemon.control.api.responses import Jobs
from prefd.daemon.jobs.comparison import MEASURES
from prefd.plugins.manager import load_plugins

run = CliRunner().invoke
plugins = load_plugins()
root = click.Context(cli.cli)
print(json.dumps({
    "copy": cli.__file__,
    "help": run(cli.cli, ["--help"]).output,
    "names": cli.cli.list_commands(root),
    "wave": run(cli.cli, ["wave"]).output,
    "weigh": run(cli.cli, ["cache", "weigh"]).output,
    "losses": list(plugins.losses),
    "formats": list(plugins.formats),
    "reporters": list(plugins.reporters),
    "errors": [plugin.error for plugin in plugins.plugins if plugin.name.startswith("prefd:") and plugin.error],
    "compared": [measure.key for measure in MEASURES],
    "resting": run(cli.cli, ["jobs", "--help"]).output + json.dumps(Jobs.model_json_schema()),
    "running": list(RUNNING),
}))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the code, as `prefd` in a folder that Python looks in first."""
    for folder in ("daemon", "cache", "plugins"):
        shutil.copytree(ROOT / folder, tmp_path / "prefd" / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "prefd"


def replace(path: Path, old: str, new: str) -> None:
    """Replaces a text that the file has once."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_each_adding_touches_one_file(copy: Path, tmp_path: Path) -> None:
    (copy / "plugins" / "losses" / "shrug.py").write_text(LOSS)
    (copy / "plugins" / "formats" / "duel.py").write_text(FORMAT)
    (copy / "plugins" / "reporters" / "whisper.py").write_text(REPORTER)
    (copy / "daemon" / "commands" / "wave.py").write_text(COMMAND)
    (copy / "daemon" / "commands" / "cache" / "weigh.py").write_text(CACHE_COMMAND)
    replace(copy / "plugins" / "metrics.py", '        Metric(\n            "grad_norm",', METRIC)
    states = copy / "daemon" / "jobs" / "states.py"
    replace(states, '"done", "failed", "cancelled"]', '"done", "failed", "cancelled", "resting"]')
    replace(
        states, '    "done": StateFacts(', '    "resting": StateFacts(("queued",), "blue"),\n    "done": StateFacts('
    )
    env = os.environ | {"PYTHONPATH": str(tmp_path), "PREFD_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", REPORT], check=False, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["copy"] == str(copy / "daemon" / "cli.py")
    assert report["errors"] == []
    assert report["names"][-2:] == ["wave", "completion"], "its rank says where it stands"
    assert "  wave        Greet those who read this." in report["help"]
    assert (report["wave"], report["weigh"]) == ("hello\n", "light\n")
    assert "shrug" in report["losses"]
    assert "whisper" in report["reporters"]
    position = report["formats"].index("duel")
    assert report["formats"][position - 1 : position + 2] == ["winner", "duel", "explicit"], (
        "its precedence says where it stands"
    )
    assert "eval_spread" in report["compared"]
    assert report["resting"].count("resting") >= 2
    assert "resting" not in report["running"]


def test_two_commands_of_one_name_are_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "daemon" / "commands" / "wave.py").write_text(COMMAND.replace("wave", "jobs"))
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    code = "from prefd.daemon.cli import COMMANDS; COMMANDS.commands"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, env=env, capture_output=True, text=True, timeout=120
    )
    assert "two commands are called 'jobs', one of them in prefd.daemon.commands.wave" in done.stderr
