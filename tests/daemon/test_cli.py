"""The group: its help, its exit codes, its start-up, and that expected errors never show a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from prefd.daemon import commands
from prefd.daemon.cli import cli
from prefd.daemon.commands import init as init_module
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.machine import owners
from support import homes
from support.control_server import serving
from support.pseudo_terminal import on_terminal

PROMISED = [
    "init",
    "start",
    "stop",
    "status",
    "doctor",
    "run",
    "validate",
    "preview",
    "schema",
    "submit",
    "jobs",
    "show",
    "logs",
    "watch",
    "wait",
    "events",
    "cancel",
    "pause",
    "resume",
    "retry",
    "edit",
    "rm",
    "clean",
    "archive",
    "losses",
    "check-loss",
    "plugins",
    "cache",
    "metrics",
    "compare",
    "completion",
]
NOT_JSON = {"schema", "completion"}  # a JSON Schema, and a shell's language
HEAVY = ["mlx", "zarr", "datasets", "starlette", "uvicorn", "httpx", "matplotlib", "transformers"]
NOT_FOR_HELP = ["pydantic", "ssl", "importlib.metadata", "rich"]
"""A tenth of a second's CPU is all that the help of all commands takes, and these would take half as much again."""


def every_command() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", each) for sub, each in command.commands.items())


def test_no_promised_command_is_gone() -> None:
    in_cache = ("ls", "show", "explain", "verify", "compact", "prune", "export", "import")
    assert {name for name, _ in every_command()} >= {*PROMISED, *(f"cache {name}" for name in in_cache)}


@pytest.mark.parametrize(
    ("name", "command"), list(every_command()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_help_has_a_summary_that_fits_and_examples(name: str, command: click.Command) -> None:
    result = CliRunner().invoke(cli, [*name.split(), "--help"])
    assert result.exit_code == Exit.OK
    assert "Examples:" in result.output
    assert f"prefd {name}" in result.output.split("Examples:")[1]
    assert max(map(len, result.output.splitlines())) <= 100
    summary = command.get_short_help_str(1000)
    assert 10 < len(summary) < 60, "the list of commands shows it on one line"
    assert all(param.help for param in command.params if isinstance(param, click.Option))


def test_no_command_asks_a_question() -> None:
    for name, command in every_command():
        assert not any(isinstance(param, click.Option) and param.prompt for param in command.params), name


@pytest.mark.parametrize(
    "name", [name for name, command in every_command() if not isinstance(command, click.Group) and name not in NOT_JSON]
)
def test_every_command_takes_json(name: str) -> None:
    assert "--json" in CliRunner().invoke(cli, [*name.split(), "--help"]).output


def test_no_command_asks_questions_but_the_one_that_publishes() -> None:
    """Nothing has to be answered, so nothing has to be skipped. What `push` has sent cannot be taken back; it has --yes."""
    sources = (Path(commands.__file__).parent).rglob("*.py")
    asking = [
        path.name for path in sources if re.search(r"click\.(confirm|prompt)|prompt=|\binput\(", path.read_text())
    ]
    assert asking == ["push.py"]


def test_the_group_lists_every_command_in_eighty_columns() -> None:
    output = CliRunner().invoke(cli, ["--help"]).output
    for name, command in every_command():
        if " " not in name:
            assert f"  {name} " in output
            assert command.get_short_help_str(1000) in output
    assert max(map(len, output.splitlines())) <= 80
    assert f"Exit codes: {Exit.list_all()}." in " ".join(output.split())


def test_version_is_the_distributions() -> None:
    from importlib.metadata import version

    assert CliRunner().invoke(cli, ["--version"]).output.strip() == f"prefd, version {version('prefd')}"


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli, ["jbos"])
    assert result.exit_code == Exit.USAGE
    assert "jbos" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["jobs", "--help"], ["jobs"], ["show", "1"], ["metrics", "1"], ["compare", "1"], ["logs", "1"]],
)
def test_starting_up_imports_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    homes.add_done(Home(tmp_path / "home"))
    reads_a_run = arguments[0] in ("show", "metrics", "compare")  # whose files pydantic parses
    heavy = [*HEAVY, *(NOT_FOR_HELP if "--help" in arguments else [] if reads_a_run else ["pydantic"])]
    code = (
        "import sys\nfrom prefd.daemon.cli import cli\n"
        f"try: cli({['--home', str(tmp_path / 'home'), *arguments]!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        f"print('HEAVY', *[name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY"


@pytest.mark.parametrize("command", ["status", "pause"])
def test_asking_the_daemon_takes_no_pydantic(ready_home: Home, command: str) -> None:
    code = (
        "import sys\nfrom prefd.daemon.cli import cli\n"
        f"try: cli({['--home', str(ready_home.root), command]!r})\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('HEAVY', *[name for name in ('pydantic', 'filelock', 'ulid') if name in sys.modules])"
    )
    with serving(ready_home):
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY"


def test_an_expected_error_is_a_message_on_stderr_without_traceback(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    homes.add_queued(home)
    result = CliRunner().invoke(cli, ["--home", str(home.root), "show", "99"])
    assert result.exit_code == Exit.NOT_FOUND
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert "99" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_operating_systems_error_names_the_file(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    result = CliRunner().invoke(cli, ["--home", str(in_the_way / "home"), "init"])
    assert result.exit_code == Exit.FAILED
    assert str(in_the_way) in result.stderr


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Home, "create", lambda self: 1 / 0)
    assert isinstance(CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), "init"]).exception, ZeroDivisionError)


@pytest.mark.parametrize(
    "arguments",
    [
        ["jobs"],
        ["show", "1"],
        ["logs", "1"],
        ["metrics", "1"],
        ["compare", "1", "2"],
        ["watch"],
        ["wait", "1"],
        ["cancel", "1"],
        ["status"],
        ["stop"],
        ["submit", "x.yaml"],
        ["cache", "ls"],
        ["cache", "show"],
    ],
    ids=" ".join,
)
def test_a_missing_home_is_not_found_and_says_how_to_make_one(home: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, ["--home", str(home), *arguments])
    assert result.exit_code == Exit.NOT_FOUND
    assert str(home) in result.stderr
    assert "prefd init" in result.stderr
    assert result.stdout == ""
    assert not home.exists(), "looking makes nothing"


def test_the_home_comes_from_the_option_or_the_environment(tmp_path: Path) -> None:
    homes.add_queued(Home(tmp_path / "one"), name="of-one")
    homes.add_queued(Home(tmp_path / "two"), name="of-two")
    environment = {"PREFD_HOME": str(tmp_path / "one")}
    assert "of-one" in CliRunner().invoke(cli, ["jobs"], env=environment).output
    assert "of-two" in CliRunner().invoke(cli, ["--home", str(tmp_path / "two"), "jobs"], env=environment).output


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("~nobody123/prefd", "there is no user nobody123; write the path itself in --home or PREFD_HOME"),
        ("$HOME/prefd", "$HOME was not expanded; write the path itself"),
        ("${XDG_DATA_HOME}/prefd", "${XDG_DATA_HOME} was not expanded"),
        ("%USERPROFILE%/prefd", "%USERPROFILE% was not expanded"),
    ],
)
def test_a_home_that_only_a_shell_would_have_expanded_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments, environment in ((["--home", named, "init"], {}), (["init"], {"PREFD_HOME": named})):
        result = CliRunner().invoke(cli, arguments, env=environment)
        assert (result.exit_code, message in result.stderr) == (Exit.NOT_FOUND, True), result.output
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "$HOME").mkdir()
    assert CliRunner().invoke(cli, ["--home", "$HOME/prefd", "jobs"]).exit_code == Exit.NOT_FOUND


def test_no_color_is_respected_even_on_a_terminal(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    homes.add_failed(home)
    plain = on_terminal(["--home", str(home.root), "jobs"], {"NO_COLOR": "1"})
    assert "\x1b[31m" not in plain
    assert "\x1b[31m" in on_terminal(["--home", str(home.root), "jobs"], {})
    error = on_terminal(["--home", str(home.root), "show", "99"], {"NO_COLOR": "1"})
    assert "error: " in error
    assert "\x1b[3" not in error


def test_json_is_one_document_with_a_schema(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    homes.add_done(home)
    for arguments in (
        ["jobs"],
        ["show", "1"],
        ["logs", "1"],
        ["metrics", "1"],
        ["wait", "1"],
        ["watch", "1"],
        ["cache", "ls"],
    ):
        result = CliRunner().invoke(cli, ["--home", str(home.root), *arguments, "--json"])
        assert result.exit_code == Exit.OK, result.output
        assert json.loads(result.stdout)["schema"] == 1


@pytest.mark.parametrize(("place", "advised"), [("home", True), ("elsewhere", False)])
def test_only_what_is_in_the_home_is_offered_to_be_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, advised: bool
) -> None:
    home = Home(tmp_path / "home")
    home.create()
    file = (home.root if place == "home" else tmp_path) / "refused"
    monkeypatch.setattr(owners, "find_owner", lambda _: 0)
    monkeypatch.setattr(os, "geteuid", lambda: 1)

    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(init_module, "make_home", refuse)
    result = CliRunner().invoke(cli, ["--home", str(home.root), "init"])
    assert result.exit_code == Exit.FAILED
    assert f"{file}: Permission denied" in result.stderr
    assert ("sudo chown -R daemon" in result.stderr) == advised
