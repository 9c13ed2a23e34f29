"""The files in contrib/ that service managers read, installed as docs/service.md says."""

from __future__ import annotations

import configparser
import os
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from prefd.daemon.cli import cli
from prefd.daemon.home.settings import Config
from support.paths import ROOT
from support.service_page import follow_page

MANAGERS = ("systemctl", "loginctl", "launchctl")


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """An account's folder, with a `prefd` on its PATH and managers that write down what they are asked."""
    account_folder = tmp_path / "an account"
    (account_folder / "bin").mkdir(parents=True)
    (account_folder / "Library" / "LaunchAgents").mkdir(parents=True)
    for name in (*MANAGERS, "prefd"):
        (account_folder / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "$HOME/asked"\n')
        (account_folder / "bin" / name).chmod(0o755)
    return account_folder


def unit(path: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # keys are as they are written
    parser.read_string(path.read_text())
    return {key: value for section in parser.values() for key, value in section.items()}


def accepts(arguments: list[str]) -> None:
    """Raises where prefd would not understand them."""
    with click.Context(cli, **cli.context_settings) as context:
        command = cli.get_command(context, arguments[0])
        assert command is not None
        command.make_context(arguments[0], arguments[1:], parent=context)


def test_the_unit_is_installed_for_this_prefd_and_enabled(account: Path) -> None:
    commands = follow_page(account, "systemctl")
    assert commands == [
        "systemctl --user daemon-reload",
        "systemctl --user enable --now prefd",
        "loginctl enable-linger",
    ]
    settings = unit(account / ".config" / "systemd" / "user" / "prefd.service")
    program, *arguments = shlex.split(settings["ExecStart"])
    assert program == str(account / "bin" / "prefd")
    accepts(arguments)


def test_the_unit_waits_for_readiness_watches_and_lets_workers_save_their_state() -> None:
    settings = unit(ROOT / "contrib" / "systemd" / "prefd.service")
    assert settings["ExecStart"] == "%h/.local/bin/prefd start", "where pipx and uv put it"
    assert (settings["Type"], settings["NotifyAccess"], settings["Restart"]) == ("notify", "main", "on-failure")
    assert settings["KillMode"] == "process", "a crash of the daemon leaves its workers the time to save their state"
    assert settings["OOMPolicy"] == "continue", "a worker killed for memory does not end the daemon"
    assert int(settings["WatchdogSec"]) >= 60
    assert int(settings["TimeoutStopSec"]) > Config().stop_grace_seconds
    breaking = {
        "PrivateTmp",
        "PrivateDevices",
        "MemoryDenyWriteExecute",
        "ProtectHome",
        "DynamicUser",
        "PrivateNetwork",
    }
    assert not breaking & settings.keys()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    text = (ROOT / "contrib" / "systemd" / "prefd.service").read_text()

    def verify(text: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "prefd.service").write_text(text)
        command = ["systemd-analyze", "--user", "--man=no", "verify", str(tmp_path / "prefd.service")]
        environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_LOG_LEVEL": "warning"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    here = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", text, flags=re.MULTILINE)
    complaints = verify(here)
    if "Failed to initialize manager" in complaints.stderr:
        pytest.skip(complaints.stderr)
    assert (complaints.returncode, complaints.stderr) == (0, "")
    assert "kill mode" in verify(here.replace("KillMode=process", "KillMode=fast")).stderr, "it would have said so"


def test_the_agent_is_installed_for_this_prefd(account: Path) -> None:
    commands = follow_page(account, "launchctl")
    path = account / "Library" / "LaunchAgents" / "prefd.plist"
    assert commands == [f"launchctl bootstrap gui/{os.getuid()} {path}"]
    agent = plistlib.loads(path.read_bytes())
    assert agent["ProgramArguments"] == [str(account / "bin" / "prefd"), "start", "--log-to-file"]
    accepts(agent["ProgramArguments"][1:])
    assert agent["StandardErrorPath"] == f"{account}/Library/Logs/prefd.err"


def test_the_agent_starts_again_after_a_crash_and_stops_gently() -> None:
    agent = plistlib.loads((ROOT / "contrib" / "launchd" / "prefd.plist").read_bytes())
    assert agent["Label"] == "prefd"
    assert (agent["RunAtLoad"], agent["KeepAlive"]) == (True, {"SuccessfulExit": False})
    assert agent["ExitTimeOut"] > Config().stop_grace_seconds
    assert agent["SoftResourceLimits"]["NumberOfFiles"] >= 4096
    assert agent["Umask"] == 0o077
    assert agent["ProcessType"] == "Interactive"
