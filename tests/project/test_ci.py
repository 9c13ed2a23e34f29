"""The workflow of .github calls what there is: targets of the Makefile, commands of prefd with their options, and files."""

from __future__ import annotations

import os
import re
import shlex
from typing import Any

import click
import pytest
from ruamel.yaml import YAML

from prefd.daemon.cli import cli
from support.paths import ROOT

WORKFLOW: dict[str, Any] = YAML(typ="safe").load(
    (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
)
SCRIPTS = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
TARGETS = set(re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
CALLS = [call for script in SCRIPTS for call in re.findall(r"\.venv/bin/prefd ([^|;&\n)>]+)", script)]


def test_it_runs_on_linux_and_on_apples_machines() -> None:
    runners = {job["runs-on"] for job in WORKFLOW["jobs"].values()}
    assert "ubuntu-24.04" in runners
    assert any(each.startswith("macos-") for each in WORKFLOW["jobs"]["mac"]["strategy"]["matrix"]["os"])
    assert all(job["timeout-minutes"] for job in WORKFLOW["jobs"].values())


@pytest.mark.parametrize("what", ["lint", "test", "test-as-mac", "demo", "venv"])
def test_it_makes_what_a_change_must_pass(what: str) -> None:
    targets = {target for script in SCRIPTS for target in re.findall(r"make ([a-z-]+)", script)}
    assert what in targets | ({"lint", "test"} if ".ci/run" in SCRIPTS else set())
    assert targets <= {target for line in TARGETS for target in line.split()}


def test_the_files_that_it_runs_are_programs() -> None:
    files = {word for script in SCRIPTS for word in script.split() if word.startswith(".ci/")}
    assert files == {".ci/run"}
    assert all(os.access(ROOT / file, os.X_OK) for file in files)


@pytest.mark.parametrize("call", sorted(set(CALLS)))
def test_the_commands_that_it_calls_are_prefds(call: str) -> None:
    words = shlex.split(call)
    command: click.Command = cli
    with click.Context(cli, **cli.context_settings) as context:
        while isinstance(command, click.Group):
            subcommand = command.get_command(context, words[0])
            assert subcommand is not None, call
            command, words = subcommand, words[1:]
        command.make_context(str(command.name), words, parent=context)


def test_calls_were_found() -> None:
    assert {"service install", "service uninstall", "status", "selftest"} <= {call.strip() for call in CALLS}
