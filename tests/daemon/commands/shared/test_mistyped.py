"""Commands and options that there are not: what is said leads where it should, and never to something else."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from prefd.daemon.cli import COMMANDS, cli
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.commands.shared.mistyped import INSTEAD


def ask_mistyped(*typed: str) -> str:
    result = CliRunner().invoke(cli, list(typed))
    assert result.exit_code == Exit.USAGE, result.output
    return result.stderr.rstrip().rpartition("Error: ")[2]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("run --home X job.yaml", "prefd --home X run job.yaml"),
        ("run job.yaml --home X", "prefd --home X run job.yaml"),
        ("run --precompute-only --home=X job.yaml", "prefd --home=X run --precompute-only job.yaml"),
        ("cache ls --home X", "prefd --home X cache ls"),
        ("cache --home X ls", "prefd --home X cache ls"),
        ("wait 3 --home", "prefd --home wait 3"),
    ],
)
def test_home_goes_before_the_command_whichever_it_is(typed: str, expected: str) -> None:
    assert ask_mistyped(*typed.split()) == f"--home goes before the command: {expected}"


@pytest.mark.parametrize("command", [*COMMANDS.commands, "cache ls", "cache verify", "cache prune"])
def test_every_command_says_so(command: str) -> None:
    words = [*command.split(), "--home", "a folder"]
    assert ask_mistyped(*words) == f"--home goes before the command: prefd --home 'a folder' {command}"
    assert ask_mistyped(*command.split(), "--version") == "--version goes before the command: prefd --version"


def test_the_line_that_is_advised_works(tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(cli, ["--home", str(tmp_path / "home"), "init"]).exit_code == Exit.OK
    assert runner.invoke(cli, ["--home", str(tmp_path / "home"), "jobs"]).exit_code == Exit.OK
    assert runner.invoke(cli, ["jobs", "-h"]).exit_code == Exit.OK


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("retry --force 3", "No such option '--force'."),  # not --fresh, which sets checkpoints aside
        ("cache verify --report", "No such option '--report'."),  # not --repair
        ("retry --fres 3", "No such option '--fres'. Did you mean '--fresh'?"),
        ("jobs --jsn", "No such option '--jsn'. Did you mean '--json'?"),
        ("run --precompute a.yaml", "No such option '--precompute'. Did you mean '--precompute-only'?"),
        ("sumbit a.yaml", "no such command: 'sumbit'; did you mean `prefd submit`?"),
        ("train a.yaml", "no such command: 'train'; `prefd run SPEC` trains here and now, `prefd submit SPEC` hands it to the daemon"),
        ("prune", "no such command: 'prune'; it is about the cache: `prefd cache prune`"),
        ("fuse 3", "no such command: 'fuse'; a spec asks for it: output: {fuse: true}"),
        ("frobnicate", "no such command: 'frobnicate'; `prefd --help` lists them"),
    ],
)  # fmt: skip
def test_a_guess_is_a_slip_of_the_pen_or_none_is_made(typed: str, expected: str) -> None:
    assert ask_mistyped(*typed.split()) == expected


def test_no_word_of_another_program_is_a_command_here() -> None:
    assert not INSTEAD.keys() & COMMANDS.commands.keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["submit", "a.yaml", "—priority", "5"], "'—priority' begins with — (U+2014), which is no dash of an option: type --priority"),
        (["–-version"], "type --version"),
        (["logs", "3", "–f"], "type -f"),
        (["submit", "“ipo.yaml”"], "which no shell takes for a quote"),
    ],
)  # fmt: skip
def test_dashes_and_quotes_of_web_pages_are_told(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert (result.exit_code, message in result.stderr) == (Exit.USAGE, True), result.stderr


def test_a_file_that_is_called_so_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "—.yaml").write_text("nonsense: true\n")
    result = CliRunner().invoke(cli, ["--home", str(tmp_path), "submit", "—.yaml"])
    assert "no dash" not in result.stderr
