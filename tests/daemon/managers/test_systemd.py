"""A unit of systemd's: what its file says, and what systemd is asked."""

import configparser
import shlex
import sys
from pathlib import Path

import pytest

from prefd.daemon.health.service_home import read_unit_home
from prefd.daemon.home.layout import Home
from prefd.daemon.managers.choice import find_manager
from prefd.daemon.managers.definition import ServiceDefinition
from prefd.daemon.managers.manager import ServiceError
from prefd.daemon.managers.systemd import Systemd, quote
from support.fake_managers import FakeAccount, make_account
from support.paths import ROOT

OWN = {"ExecStart", "TimeoutStopSec", "Environment"}


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAccount:
    monkeypatch.setattr(sys, "platform", "linux")
    return make_account(tmp_path / "an account", monkeypatch)


@pytest.fixture
def service(ready_home: Home) -> ServiceDefinition:
    return ServiceDefinition.make(ready_home, 60.0)


def settings(text: str) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # keys are as they are written
    parser.read_string(text)
    return {key: value for section in parser.values() for key, value in section.items()}


def test_the_unit_is_written_enabled_and_started(
    account: FakeAccount, service: ServiceDefinition, ready_home: Home
) -> None:
    manager = find_manager()
    manager.install(service)
    assert account.commands == [
        "systemctl --user daemon-reload",
        "systemctl --user enable prefd.service",
        "systemctl --user restart prefd.service",
    ]
    assert manager.file == account.folder / ".config" / "systemd" / "user" / "prefd.service"
    assert shlex.split(settings(manager.file.read_text())["ExecStart"]) == [*service.program, "start"]
    assert read_unit_home(manager.file) == ready_home.root, "`prefd doctor` finds the home in it"


def test_all_else_is_as_in_the_file_that_is_installed_by_hand(service: ServiceDefinition) -> None:
    by_hand = settings((ROOT / "contrib" / "systemd" / "prefd.service").read_text())
    written = settings(Systemd().write(service))
    assert {key: value for key, value in written.items() if key not in OWN} == {
        key: value for key, value in by_hand.items() if key not in OWN
    }


def test_signs_that_systemd_reads_otherwise_are_escaped() -> None:
    assert quote('100% of "a b"\\') == '"100%% of \\"a b\\"\\\\"'
    strange = ServiceDefinition(("/a $b/prefd",), Path("/h"), {"PATH": "/x%y"}, 1)
    assert 'ExecStart="/a $$b/prefd" "start"' in Systemd().write(strange)
    assert 'Environment="PATH=/x%%y"' in Systemd().write(strange)


def test_a_machine_without_systemd_says_so_in_systemds_words(account: FakeAccount, service: ServiceDefinition) -> None:
    (account.folder / "silent").touch()
    with pytest.raises(ServiceError, match="Failed to connect to bus"):
        Systemd().install(service)
    assert (
        not Systemd().file.exists()
    )  # else it would start at the next login, though it was told that it cannot be installed
    assert not Systemd().uninstall()


def test_a_unit_is_stopped_and_taken_away(account: FakeAccount, service: ServiceDefinition) -> None:
    manager = Systemd()
    assert not manager.uninstall()
    manager.install(service)
    assert "ActiveState=active" in (manager.describe() or "")
    assert manager.uninstall()
    assert account.commands[-1] == "systemctl --user disable --now prefd.service"
    assert manager.describe() is None
