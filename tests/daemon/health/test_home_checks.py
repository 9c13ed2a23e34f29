"""The home itself: whether it can be written, whose it is, who else may write there, and whether its disk has room."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.health import home_checks
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.machine import cloud
from support import drives
from support.fake_cloud import fake_cloud
from support.findings import only
from support.homes import invoke


@pytest.fixture
def there(ready_home: Home) -> Home:
    return ready_home


def test_a_missing_home_is_a_warning(home: Path) -> None:
    finding = only(list(home_checks.check_home(Home(home))))
    assert (finding.level, finding.remedy) == ("warn", "prefd init")
    assert not home.exists()


def test_a_home_that_lacks_a_folder_fails(there: Home) -> None:
    there.runs.rmdir()
    finding = only(list(home_checks.check_home(there)))
    assert finding.level == "fail"
    assert "runs" in finding.detail


@pytest.mark.parametrize(("mode", "level"), [(0o700, "ok"), (0o755, "ok"), (0o775, "warn"), (0o777, "fail")])
def test_a_home_that_others_can_write_is_told(there: Home, mode: int, level: str) -> None:
    there.root.chmod(mode)
    finding = only(list(home_checks.check_home(there)))
    assert finding.level == level
    assert finding.remedy == ("" if level == "ok" else f"chmod go-w {there.root}")


def test_a_drive_that_keeps_no_rights_is_told_once_and_fails_nothing(
    there: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    drives.keep_no_rights(monkeypatch, there.root)
    finding = only(list(home_checks.check_home(there)))
    assert finding.level == "warn"
    assert "is on a file system that keeps no rights" in finding.detail
    assert "APFS" in finding.remedy


@pytest.mark.parametrize(("free", "level"), [(100e6, "fail"), (1e9, "warn"), (50e9, "ok")])
def test_a_disk_that_is_nearly_full_is_told(
    there: Home, monkeypatch: pytest.MonkeyPatch, free: float, level: str
) -> None:
    monkeypatch.setattr(home_checks.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    finding = only(list(home_checks.check_disk(there)))
    assert finding.level == level
    assert bool(finding.remedy) == (level != "ok")


def test_what_others_can_write_in_the_home_is_told(there: Home) -> None:
    there.config.write_text("")
    there.config.chmod(0o664)
    there.jobs.chmod(0o775)
    finding = only(list(home_checks.check_home(there)))
    assert finding.level == "warn"
    assert f"{there.config} (mode 0664), {there.jobs} (mode 0775)" in finding.detail
    assert finding.remedy == f"chmod go-w {there.config} {there.jobs}"


def test_a_remedy_may_be_pasted_though_the_path_has_a_blank(tmp_path: Path) -> None:
    there = Home(tmp_path / "Application Support" / "prefd")
    there.create()
    there.jobs.chmod(0o775)
    assert only(list(home_checks.check_home(there))).remedy == f"chmod go-w '{there.jobs}'"


def test_a_home_of_another_user_is_told(there: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home_checks, "find_owner", lambda _: 1)
    finding = only(list(home_checks.check_home(there)))
    assert finding.detail.startswith(f"{there.root} is daemon's, and you are ")
    assert finding.remedy.startswith("sudo -u daemon prefd …")


def test_what_root_left_is_told(there: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (there.runs / "7").mkdir()
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    monkeypatch.setattr(home_checks, "find_owner", lambda _: owner + 1)
    finding = only(list(home_checks.check_home(there)))
    assert finding.level == "warn"
    assert "files there are not yours, as after `sudo prefd …`" in finding.detail
    assert finding.remedy.startswith("sudo chown -R ")


def test_init_closes_a_home_that_was_made_by_hand(home: Path) -> None:
    before = os.umask(0o002)
    try:
        home.mkdir(parents=True)
        home.chmod(0o775)
        (home / "jobs").mkdir()
        result = invoke(Home(home), "init")
        again = invoke(Home(home), "init")
    finally:
        os.umask(before)
    assert result.exit_code == again.exit_code == Exit.OK
    assert "closed the home to other users, who could look into it or write there (it was mode 0775)" in result.stderr
    assert "closed the home" not in again.stderr
    there = Home(home)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (there.root, there.config, there.jobs, there.runs)}
    assert modes == {"home": 0o700, "config.toml": 0o600, "jobs": 0o755, "runs": 0o755}
    assert only(list(home_checks.check_home(there))).level == "ok"


def test_a_copy_and_a_home_without_its_id_are_told(there: Home, tmp_path: Path) -> None:
    copy = Home(tmp_path / "copy")
    shutil.copytree(there.root, copy.root)
    [finding] = home_checks.check_home(copy)
    assert (finding.level, f"came from {there.root} as a copy" in finding.detail) == ("warn", True)
    assert "is paused at the next start" in finding.remedy
    with JobTable.open(there.database) as table:
        table.set_home_id("01K00000000000000000000000")
    there.identity.unlink()
    [finding] = home_checks.check_home(there)
    assert (finding.level, "home.json is not there" in finding.detail) == ("warn", True)


def test_a_home_that_a_cloud_keeps_is_told(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cloud(monkeypatch)
    assert [finding.level for finding in home_checks.check_home(ready_home)] == ["ok"]
    monkeypatch.setattr(cloud, "CLOUD_FOLDERS", (".",))
    monkeypatch.setenv("HOME", str(ready_home.root.parent))
    (finding,) = home_checks.check_home(ready_home)
    assert (finding.level, "macOS may take its database" in finding.detail) == ("warn", True)
