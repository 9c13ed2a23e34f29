"""What a service gets of the shell that it is installed from."""

import os
import sys

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.managers.definition import ServiceDefinition, describe_left_out


def test_a_service_gets_the_home_the_path_and_the_model_caches_and_no_secret(ready_home: Home) -> None:
    shell = {"PATH": "/opt/x/bin:relative:/usr/bin", "HF_HOME": "/big/hf", "HF_TOKEN": "hf_secret", "EDITOR": "vi"}
    service = ServiceDefinition.make(ready_home, 90.0, shell)
    assert service.environment["PREFD_HOME"] == str(ready_home.root)
    assert service.environment["HF_HOME"] == "/big/hf"
    assert service.environment["PATH"].startswith("/opt/x/bin:/usr/bin:")
    assert "relative" not in service.environment["PATH"]
    assert service.environment.keys() == {"PATH", "PREFD_HOME", "HF_HOME"}
    assert "hf auth login" in (describe_left_out(shell) or "")
    assert describe_left_out({}) is None


def test_on_a_mac_homebrews_programs_are_found(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "/opt/homebrew/bin" in ServiceDefinition.make(ready_home, 0, {}).environment["PATH"].split(":")


def test_a_stop_may_take_longer_than_the_workers_have(ready_home: Home) -> None:
    assert ServiceDefinition.make(ready_home, 300.0).stop_seconds > 300


def test_the_program_is_this_very_prefd(ready_home: Home) -> None:
    program = ServiceDefinition.make(ready_home, 0).program
    assert os.access(program[0], os.X_OK)
    assert os.path.dirname(program[0]) == os.path.dirname(sys.executable)
