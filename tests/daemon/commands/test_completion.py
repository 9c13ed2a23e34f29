"""What shells offer at <TAB>, asked of the shells themselves where they are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from prefd.daemon.cli import cli
from prefd.daemon.commands.shared.completions import MOST
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.specs.catalog_listing import load_catalog
from support import fake_worker, homes
from support.homes import invoke

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def there(home: Path) -> Home:
    """A home with a job in most states, no daemon, losses that were listed once, and two references."""
    ready_home = Home(home)
    homes.add_done(ready_home, name="smol-ipo", group="nightly")
    homes.add_failed(ready_home, name="two\nlines")
    homes.add_queued(ready_home, name="later", group="nightly")
    homes.add_queued(ready_home, name="held")
    with JobTable.open(ready_home.database) as jobs:
        jobs.transition(4, "paused")
    (ready_home.run / "catalog.json").write_text(json.dumps({"losses": {"sigmoid": "A loss.", "simpo": "Another."}}))
    for letter, model in (("a", "/models/small"), ("b", "org/other")):
        folder = ready_home.cache / "refs" / (letter * 32)
        folder.mkdir(parents=True)
        (folder / "zarr.json").write_text(json.dumps({"attributes": {"provenance": {"model": model}}}))
    return ready_home


def offered(home: Home, *words: str) -> dict[str, str | None]:
    """What is offered for the last of `words` (it may be empty), and what is said of it."""
    line = ["prefd", "--home", str(home.root), *words]
    shell_variables = {
        "_PREFD_COMPLETE": "zsh_complete",
        "COMP_WORDS": " ".join(line),
        "COMP_CWORD": str(len(line) - 1),
    }
    result = CliRunner().invoke(cli, env=shell_variables, prog_name="prefd")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    return {value: None if about == "_" else about for value, about in zip(lines[1::3], lines[2::3])}


def test_commands_and_options_are_offered(there: Home) -> None:
    assert {"jobs", "logs", "completion", "cache"} <= offered(there, "").keys()
    assert offered(there, "sch") == {"schema": "Print a spec's JSON Schema, for editors."}
    assert {"--follow", "--last", "--json"} <= offered(there, "logs", "--").keys()
    assert offered(there, "cache", "ex").keys() == {"explain", "export"}
    assert offered(there, "jobs", "--state", "pre").keys() == {"precomputing"}


def test_jobs_are_offered_by_number_with_their_names_the_newest_first(there: Home) -> None:
    names = {"4": "held (paused)", "3": "later (queued)", "2": "two lines (failed)", "1": "smol-ipo (done)"}
    for command in ("logs", "show", "watch", "wait", "metrics", "compare"):
        assert list(offered(there, command, "").items()) == list(names.items()), command
    assert offered(there, "logs", "2").keys() == {"2"}
    assert offered(there, "compare", "1", "").keys() == {"4", "3", "2"}, "not the one that is on the line already"


@pytest.mark.parametrize(
    ("command", "numbers"),
    [
        ("cancel", {"3", "4"}),
        ("pause", {"3", "4"}),
        ("resume", {"4"}),
        ("retry", {"1", "2"}),
        ("rm", {"1", "2"}),
        ("archive", {"1", "2"}),
        ("edit", {"3", "4"}),
        ("edit 3 --after", set("1234")),
        ("submit --after", set("1234")),
    ],
)
def test_only_jobs_that_a_command_can_act_on_are_offered(there: Home, command: str, numbers: set[str]) -> None:
    assert offered(there, *command.split(), "").keys() == numbers


def test_losses_are_offered_as_the_home_last_had_them(there: Home, tmp_path: Path) -> None:
    assert offered(there, "losses", "si") == {"sigmoid": "A loss.", "simpo": "Another."}
    load_catalog(there, fake_worker.make_worker(tmp_path))
    assert offered(there, "check-loss", "") == {
        "cpo": "A loss.",
        "dpop": "A loss.",
        "ipo": "A loss.",
        "sigmoid": "A loss.",
    }


def test_groups_and_references_are_offered(there: Home) -> None:
    for command in ("jobs", "cancel", "wait", "rm", "clean"):
        assert offered(there, command, "--group", "") == {"nightly": "2 of the newest jobs"}, command
    references = {"a" * 12: "small", "b" * 12: "other"}
    for command in ("show", "prune --reference", "verify --reference"):
        assert offered(there, "cache", *command.split(), "") == references, command
    assert offered(there, "cache", "show", "b").keys() == {"b" * 12}


@pytest.mark.parametrize("damage", ["none", "no database", "not a database"])
def test_where_there_is_nothing_to_look_in_nothing_is_offered_and_nothing_said(home: Path, damage: str) -> None:
    ready_home = Home(home)
    if damage != "none":
        ready_home.create()
    if damage == "not a database":
        ready_home.database.write_bytes(b"no database" * 1000)
    for words in (["logs", ""], ["losses", ""], ["jobs", "--group", ""], ["cache", "show", ""]):
        assert offered(ready_home, *words) == {}
    assert home.exists() == (damage != "none")


def test_of_many_jobs_the_newest_are_offered_and_it_takes_no_heavy_import(there: Home) -> None:
    with JobTable.open(there.database) as table:
        specs = [homes.make_spec(name=f"n{number}") for number in range(300)]
        table.add_all(specs, "a sweep")
    assert list(offered(there, "logs", ""))[:2] == ["304", "303"]
    assert len(offered(there, "logs", "")) == MOST
    line = {"COMP_WORDS": f"prefd --home {there.root} logs ", "COMP_CWORD": "4", "_PREFD_COMPLETE": "bash_complete"}
    code = "import sys\nfrom prefd.daemon.cli import cli\ntry: cli(prog_name='prefd')\nexcept SystemExit: pass\n"
    code += "print(*[name for name in ('mlx', 'pydantic', 'httpx', 'zarr', 'numpy') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | line, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == ""
    assert "plain,304" in done.stdout


def ask(shell: str, script: str, home: Home, tmp_path: Path) -> str:
    """What `shell` prints for `script`, which has the completion script in $1."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    source = invoke(home, "completion", shell)
    assert source.exit_code == Exit.OK, source.output
    (tmp_path / "completion").write_text(source.stdout)
    plain = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    command = [shell, *plain, "-c", script, *([] if shell == "fish" else ["-"]), str(tmp_path / "completion")]
    environment = {**os.environ, "PATH": PATH, "PREFD_HOME": str(home.root), "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_bash_completes(there: Home, tmp_path: Path) -> None:
    script = """
        source "$1"
        complete -p prefd
        COMP_WORDS=(prefd logs ""); COMP_CWORD=2; _prefd_completion prefd logs; echo "${COMPREPLY[*]}"
        COMPREPLY=(); COMP_WORDS=(prefd losses si); COMP_CWORD=2; _prefd_completion prefd; echo "${COMPREPLY[*]}"
    """
    assert ask("bash", script, there, tmp_path).splitlines() == [
        "complete -o nosort -F _prefd_completion prefd",
        "4 3 2 1",
        "sigmoid simpo",
    ]


def test_zsh_completes(there: Home, tmp_path: Path) -> None:
    script = """
        compdef() { print "compdef $*" }
        _describe() { print -l "${(@P)3}" }
        compadd() { print -l "${(@P)@[-1]}" }
        source "$1"
        words=(prefd logs ""); CURRENT=3; _prefd_completion
        words=(prefd losses si); CURRENT=3; _prefd_completion
    """
    assert ask("zsh", script, there, tmp_path).splitlines() == [
        "compdef _prefd_completion prefd",
        *("4:held (paused)", "3:later (queued)", "2:two lines (failed)", "1:smol-ipo (done)"),
        *("sigmoid", "simpo"),
    ]


def test_fish_completes(there: Home, tmp_path: Path) -> None:
    script = 'source $argv[1]; complete -C "prefd logs "; complete -C "prefd losses si"'
    lines = ask("fish", script, there, tmp_path).splitlines()
    assert sorted(line.split()[0] for line in lines) == ["1", "2", "3", "4", "sigmoid", "simpo"]
    assert any("held (paused)" in line for line in lines)


def test_another_shell_is_a_usage_error(there: Home) -> None:
    result = invoke(there, "completion", "csh")
    assert result.exit_code == Exit.USAGE
    assert "fish" in result.stderr
