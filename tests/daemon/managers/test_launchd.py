"""An agent of launchd's: what its file says, and that an old one is booted out before the new one comes."""

import os
import plistlib
import sys
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config
from prefd.daemon.managers.choice import find_manager
from prefd.daemon.managers.definition import ServiceDefinition
from prefd.daemon.managers.launchd import Launchd
from prefd.daemon.managers.manager import ServiceError
from support.fake_managers import FakeAccount, make_account
from support.paths import ROOT


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAccount:
    monkeypatch.setattr(sys, "platform", "darwin")
    return make_account(tmp_path / "an account", monkeypatch)


@pytest.fixture
def service(ready_home: Home) -> ServiceDefinition:
    return ServiceDefinition.make(ready_home, 60.0)


def test_the_agent_has_the_program_the_environment_and_the_time_to_stop(
    account: FakeAccount, service: ServiceDefinition
) -> None:
    manager = find_manager()
    manager.install(service)
    assert manager.file == account.folder / "Library" / "LaunchAgents" / "prefd.plist"
    agent = plistlib.loads(manager.file.read_bytes())
    assert agent["ProgramArguments"] == [*service.program, "start", "--log-to-file"]
    assert agent["EnvironmentVariables"] == dict(service.environment)
    assert agent["ExitTimeOut"] > Config().stop_grace_seconds
    assert manager.file.stat().st_mode & 0o077 == 0


def test_all_else_is_as_in_the_file_that_is_installed_by_hand(account: FakeAccount, service: ServiceDefinition) -> None:
    by_hand = plistlib.loads((ROOT / "contrib" / "launchd" / "prefd.plist").read_bytes())
    written = plistlib.loads(Launchd().write(service).encode())
    own = {"ProgramArguments", "EnvironmentVariables", "StandardErrorPath", "ExitTimeOut"}
    assert {key: value for key, value in written.items() if key not in own} == {
        key: value for key, value in by_hand.items() if key not in own
    }


def test_an_agent_that_is_loaded_is_booted_out_first(account: FakeAccount, service: ServiceDefinition) -> None:
    manager = Launchd()
    manager.install(service)
    manager.install(service)
    calls = [line.split()[1] for line in account.commands if "print" not in line]
    assert calls == ["bootout", "bootstrap", "bootout", "bootstrap"]
    assert f"gui/{os.getuid()}" in account.commands[-1]
    assert "state = running" in (manager.describe() or "")


def test_a_refusal_has_launchds_words(account: FakeAccount, service: ServiceDefinition) -> None:
    account.write(
        "launchctl",
        "[ $1 = bootstrap ] || exit 3; echo 'Bootstrap failed: 125: Domain does not support specified action' >&2; exit 125\n",
    )
    with pytest.raises(ServiceError, match=r"125: Domain does not support.*log in at the Mac"):
        Launchd().install(service)


def test_an_agent_is_taken_away_and_one_that_is_not_there_is_no_fault(
    account: FakeAccount, service: ServiceDefinition
) -> None:
    manager = Launchd()
    assert not manager.uninstall()
    manager.install(service)
    assert manager.uninstall()
    assert manager.describe() is None
    assert not manager.file.exists()
