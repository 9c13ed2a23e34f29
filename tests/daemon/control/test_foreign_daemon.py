"""A daemon that runs as another user is told as that, and never as one that does not run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.control import foreign_daemon
from prefd.daemon.control.foreign_daemon import find_foreign_daemon, write_command
from prefd.daemon.health import checks
from prefd.daemon.home.layout import Home
from prefd.daemon.home.lock import announce, hold_lock
from prefd.daemon.machine.owners import name_user
from support import homes
from support.homes import invoke


@pytest.fixture
def foreign(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """A home whose daemon, this process, is another user's."""
    with hold_lock(ready_home):
        announce(ready_home, str(ready_home.socket))
        monkeypatch.setattr(foreign_daemon, "_find_process_owner", lambda _: 1)
        yield ready_home


def test_it_is_named_with_the_command_that_asks_it(foreign: Home) -> None:
    error = find_foreign_daemon(foreign)
    assert error is not None
    name = name_user(1)
    assert str(error) == (
        f"the daemon (pid {os.getpid()}) of {foreign.root} runs as {name} and answers to nobody else: "
        f"sudo -u {name} prefd --home {foreign.root} status"
    )


def test_ones_own_daemon_and_no_daemon_are_none(ready_home: Home) -> None:
    assert find_foreign_daemon(ready_home) is None
    with hold_lock(ready_home):
        announce(ready_home, str(ready_home.socket))
        assert find_foreign_daemon(ready_home) is None


def test_the_default_home_needs_no_option(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(Path(os.path.expanduser("~root"), foreign_daemon.DEFAULT_FOLDER))
    assert write_command(home, 0, "status") == "sudo prefd status"


@pytest.mark.parametrize(
    "arguments", [["status"], ["stop"], ["events"], ["cancel", 1], ["pause"], ["start", "--detach"]]
)
def test_no_command_says_that_none_runs_or_goes_behind_its_back(foreign: Home, arguments: list[str | int]) -> None:
    homes.add_queued(foreign)
    result = invoke(foreign, *arguments)
    assert result.exit_code == Exit.FAILED, result.output
    assert "and answers to nobody else: sudo -u" in result.stderr
    assert "not running" not in result.output
    assert invoke(foreign, "jobs", "--json").stdout.count('"state": "queued"') == 1


def test_nothing_is_submitted_to_it(foreign: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path) -> None:
    spec = homes.write_spec(tmp_path / "a.json", tiny_model, pairs_file)
    result = invoke(foreign, "submit", spec)
    assert "answers to nobody else" in result.stderr
    assert list(foreign.jobs.glob("*.json")) == []


def test_doctor_names_it_and_advises_no_kill(foreign: Home) -> None:
    (finding,) = checks.check_daemon(foreign)
    assert finding.level == "warn"
    assert "answers to nobody else" in finding.detail
    assert finding.remedy.startswith(f"sudo -u {name_user(1)} prefd")
