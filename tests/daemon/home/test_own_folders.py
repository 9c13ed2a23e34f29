"""What users put somewhere is kept out of the folders that a home keeps itself, its own and any other's."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.identity import begin_identity
from prefd.daemon.home.layout import Home
from prefd.daemon.home.own_folders import explain_own_folder
from support import homes
from support.homes import invoke


@pytest.mark.parametrize("name", ["jobs", "jobs/accepted", "runs", "runs/1/adapter", "cache/refs", "run"])
def test_folders_that_prefd_keeps_are_refused_also_those_of_another_home(
    ready_home: Home, tmp_path: Path, name: str
) -> None:
    other = Home(tmp_path / "other")
    other.create()
    begin_identity(other.root)
    for home in (ready_home, other):
        folder = home.root / name.partition("/")[0]
        assert explain_own_folder(ready_home, home.root / name) == (
            f"{home.root / name} lies in {folder}, which prefd keeps for itself: name a folder outside of {home.root}"
        )


def test_a_folder_on_another_drive_that_the_home_has_a_link_to_is_its_own(ready_home: Home, tmp_path: Path) -> None:
    drive = tmp_path / "drive"
    ready_home.runs.rename(drive)
    ready_home.runs.symlink_to(drive)
    assert f"lies in {ready_home.runs}" in str(explain_own_folder(ready_home, drive / "kept"))


@pytest.mark.parametrize("name", ["archive", "archive/best", "notes", "../elsewhere"])
def test_the_archive_and_what_is_the_users_are_not(ready_home: Home, name: str) -> None:
    assert explain_own_folder(ready_home, ready_home.root / name) is None


def test_an_archive_and_an_export_are_refused_there_and_nothing_is_written(ready_home: Home) -> None:
    homes.add_done(ready_home, name="smol-ipo")
    before = sorted(ready_home.root.rglob("*"))
    for to in (ready_home.root, ready_home.jobs, ready_home.runs / "1"):
        refused = invoke(ready_home, "archive", 1, "--to", to)
        assert (refused.exit_code, str(to) in refused.stderr) == (Exit.USAGE, True), refused.stderr
        assert "name a folder outside" in refused.stderr
    assert sorted(ready_home.root.rglob("*")) == before
