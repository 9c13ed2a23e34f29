from __future__ import annotations

import os
import plistlib
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from prefd.daemon.health import machine_checks
from prefd.daemon.health.finding import HealthFinding
from prefd.daemon.health.machine_checks import (
    _check_launchd,
    check_limits,
    check_service,
    check_socket,
    check_watch,
    describe_inotify,
    is_event_reported,
)
from prefd.daemon.health.service_home import read_agent_home
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.mounts import Mount
from prefd.daemon.managers.launchd import Launchd
from support.fake_managers import make_account


@pytest.fixture
def there(home: Path) -> Home:
    ready_home = Home(home)
    ready_home.create()
    return ready_home


def only(findings: Iterator[HealthFinding] | Sequence[HealthFinding]) -> HealthFinding:
    [finding] = findings
    assert (finding.remedy == "") == (finding.level == "ok")
    return finding


# --- watching


def test_a_file_event_is_tried_and_leaves_nothing(there: Home) -> None:
    assert is_event_reported(there.jobs, 20)
    assert sorted(path.name for path in there.jobs.iterdir()) == ["accepted", "rejected"]
    finding = only(check_watch(there))
    assert finding.level == "ok"
    assert finding.detail.startswith(f"file events; {there.jobs} is on ")
    if sys.platform == "linux":
        assert describe_inotify() in finding.detail
        assert "max_user_instances" in finding.detail


def test_a_folder_that_tells_of_nothing_is_a_warning(there: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "is_event_reported", lambda folder, seconds: False)
    finding = only(check_watch(there))
    assert finding.level == "warn"
    assert finding.remedy.startswith(f"set polling = true under [watch] in {there.config}")


def test_no_event_within_the_time_is_no_event(there: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchfiles.watch", lambda *_, **__: iter(lambda: set(), None))
    assert is_event_reported(there.jobs, 0.05) is False
    assert sorted(path.name for path in there.jobs.iterdir()) == ["accepted", "rejected"]


def test_inotifys_limits_are_the_remedy_where_they_are_used_up(
    there: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(folder: Path, seconds: float) -> bool:
        raise OSError("OS file watch limit reached")

    for name, value in (("max_user_instances", "8\n"), ("max_user_watches", "8192\n")):
        (tmp_path / name).write_text(value)
    monkeypatch.setattr(machine_checks, "INOTIFY", tmp_path)
    monkeypatch.setattr(machine_checks, "is_event_reported", refuse)
    finding = only(check_watch(there))
    assert (finding.level, finding.detail) == ("warn", "file events cannot be had: OS file watch limit reached")
    assert "sysctl fs.inotify.max_user_instances=512" in finding.remedy
    assert "(now max_user_instances 8, max_user_watches 8,192)" in finding.remedy
    monkeypatch.setattr(machine_checks, "INOTIFY", tmp_path / "none")
    assert only(check_watch(there)).remedy == "jobs/ is polled meanwhile"


def test_polling_is_said_with_its_reason(there: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = Mount(str(there.jobs), "nfs4", "server:/jobs")
    monkeypatch.setattr(machine_checks, "find_mount", lambda path: mount)
    assert only(check_watch(there)).detail.startswith(f"polling, because {there.jobs} is on nfs4 from server:/jobs")
    there.config.write_text("[watch]\npolling = true\n")
    assert only(check_watch(there)).detail.startswith("polling, as config.toml says")
    there.config.write_text("nonsense")
    assert list(check_watch(there)) == [], "told by another check"


def test_there_is_nothing_to_watch_in_a_home_that_is_not_there(home: Path) -> None:
    assert list(check_watch(Home(home))) == []
    assert list(check_socket(Home(home))) == []


# --- limits


@pytest.mark.parametrize(
    ("soft", "hard", "level", "detail"),
    [
        (256, 512, "warn", "512 open files: a large cache has more segments"),
        (256, 4096, "ok", "4,096 open files"),
        (256, resource.RLIM_INFINITY, "ok", "8,192 open files"),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, "ok", "no limit"),
    ],
)
def test_few_open_files_are_a_warning_where_they_cannot_be_made_more(
    there: Home, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, level: str, detail: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, hard))
    finding = only(check_limits(there))
    assert (finding.level, finding.detail) == (level, detail)
    assert ("512" in finding.remedy) == (level == "warn")


# --- the socket


def test_a_socket_for_this_user_alone_is_well(short_home: Home) -> None:
    assert only(check_socket(short_home)).level == "ok"
    short_home.socket.touch(mode=0o600)
    assert only(check_socket(short_home)).level == "ok"


@pytest.mark.parametrize("which", ["run", "socket"])
def test_a_socket_that_others_can_reach_fails(short_home: Home, which: str) -> None:
    short_home.socket.touch(mode=0o600)
    path = getattr(short_home, which)
    path.chmod(0o755)
    finding = only(check_socket(short_home))
    assert (finding.level, finding.detail) == ("fail", f"{path} is open to others (mode 0755)")
    assert finding.remedy == f"chmod {'700' if which == 'run' else '600'} {path}"


def test_a_path_that_is_too_long_for_a_socket_is_told(tmp_path: Path) -> None:
    ready_home = Home(tmp_path / ("long" * 30))
    ready_home.create()
    finding = only(check_socket(ready_home))
    assert finding.level == "warn"
    assert "a temporary folder" in finding.detail
    assert finding.remedy == "a home with a shorter path"


# --- the service manager


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An enabled unit of an account that lingers."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    unit_file = tmp_path / "config" / "systemd" / "user" / "prefd.service"
    (unit_file.parent / "default.target.wants").mkdir(parents=True)
    unit_file.write_text(f"[Service]\nExecStart='{sys.executable}' start\n")
    (unit_file.parent / "default.target.wants" / unit_file.name).symlink_to(unit_file)
    monkeypatch.setattr(machine_checks, "LINGER", tmp_path / "linger")
    (tmp_path / "linger").mkdir()
    (tmp_path / "linger" / Path.home().owner()).touch()
    return unit_file


def test_an_enabled_unit_that_lingers_is_well(there: Home, unit: Path) -> None:
    assert only(check_service(there)).detail == f"systemd: {unit}"


@pytest.mark.parametrize(
    ("lines", "override", "served"),
    [
        ("", "", None),
        ('Environment="PREFD_HOME={home}"', "", "home"),
        ("Environment=A=1 PREFD_HOME={home} B=2", "", "home"),
        ("", '[Service]\nEnvironment="PREFD_HOME={home}"\n', "home"),
        ("Environment=PREFD_HOME=/elsewhere", "", "/elsewhere"),
        ("#Environment=PREFD_HOME={home}", "", None),
    ],
)
def test_a_service_that_serves_another_home_than_the_shells_is_told(
    there: Home, unit: Path, monkeypatch: pytest.MonkeyPatch, lines: str, override: str, served: str | None
) -> None:
    monkeypatch.setenv("PREFD_HOME", str(there.root))
    with unit.open("a") as file:
        file.write(lines.format(home=there.root) + "\n")
    if override:
        folder = unit.with_name(f"{unit.name}.d")
        folder.mkdir()
        (folder / "override.conf").write_text(override.format(home=there.root))
    findings = [finding for finding in check_service(there) if finding.level == "warn"]
    if served == "home":
        assert findings == []
    else:
        (finding,) = findings
        default = platformdirs.user_data_dir("prefd", appauthor=False)
        assert finding.detail.startswith(f"the service serves {served or default}, and PREFD_HOME is {there.root}")
        assert finding.remedy == f"prefd service install, which names it in {unit} too"
    monkeypatch.delenv("PREFD_HOME")
    assert all(finding.level == "ok" for finding in check_service(there)), "no home is named but by --home"


def test_an_agents_home_is_read(tmp_path: Path) -> None:
    agent = tmp_path / "prefd.plist"
    document = {"ProgramArguments": ["prefd", "start"], "EnvironmentVariables": {"PREFD_HOME": str(tmp_path)}}
    agent.write_bytes(plistlib.dumps(document))
    assert read_agent_home(agent) == tmp_path.resolve()
    agent.write_bytes(plistlib.dumps(document | {"ProgramArguments": ["prefd", "--home", "/x", "start"]}))
    assert read_agent_home(agent) == Path("/x")


def test_no_unit_is_no_fault(there: Home, unit: Path) -> None:
    unit.unlink()
    finding = only(check_service(there))
    assert (finding.level, finding.detail.split(":")[0]) == ("ok", "none")


def test_a_unit_whose_program_is_gone_fails(there: Home, unit: Path) -> None:
    unit.write_text("[Service]\nExecStart=%h/no/such/prefd start\n")
    finding = only(check_service(there))
    assert finding.level == "fail"
    assert f"{Path.home()}/no/such/prefd, which cannot be run" in finding.detail


def test_a_unit_that_is_not_enabled_or_ends_at_logout_is_a_warning(there: Home, unit: Path, tmp_path: Path) -> None:
    (tmp_path / "linger" / Path.home().owner()).unlink()
    assert only(check_service(there)).remedy == "loginctl enable-linger"
    (unit.parent / "default.target.wants" / unit.name).unlink()
    assert only(check_service(there)).remedy == "systemctl --user enable --now prefd"


@pytest.mark.parametrize(
    ("agent", "level"),
    [
        (None, "ok"),
        ({"ProgramArguments": [sys.executable, "start"]}, "ok"),
        ({"ProgramArguments": ["/no/such/prefd"]}, "fail"),
        ({}, "fail"),
        (b"not a plist", "fail"),
    ],
)
def test_a_launchd_agent_is_read(tmp_path: Path, agent: Any, level: str) -> None:
    path = tmp_path / "prefd.plist"
    if agent is not None:
        path.write_bytes(agent if isinstance(agent, bytes) else plistlib.dumps(agent))
    assert only(_check_launchd(path)).level == level


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ("exit 113", "is not loaded"),
        ("echo 'last exit code = 0'", None),
        ("echo 'last exit code = (never exited)'", None),
        ("echo '	last exit code = 78: EX_CONFIG'", "ended with exit code 78"),
    ],
)
def test_launchd_is_asked_whether_it_has_loaded_the_agent(
    there: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, detail: str | None
) -> None:
    account = make_account(tmp_path / "account", monkeypatch)
    account.write("launchctl", answer + "\n")
    monkeypatch.setattr(sys, "platform", "darwin")
    agent = Launchd().file
    agent.parent.mkdir(parents=True)
    agent.write_bytes(plistlib.dumps({"ProgramArguments": [sys.executable, "start"]}))
    findings = [finding for finding in check_service(there) if finding.level == "warn"]
    assert [detail in finding.detail for finding in findings] == [True] * len(findings)
    assert len(findings) == (detail is not None)


def test_the_running_system_is_looked_at(there: Home) -> None:
    assert os.name == "posix"
    assert {finding.subject for finding in check_service(there)} <= {"service"}
