"""Whose runs/ a folder is: two homes with one are refused, and a mark that was copied in counts for nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from prefd.daemon.commands.shared.job_changes import open_table_alone
from prefd.daemon.home import runs_owner
from prefd.daemon.home.identity import read_identity
from prefd.daemon.home.layout import Home
from prefd.daemon.home.runs_owner import MARK, RunsOwner, RunsShared, claim_runs
from prefd.daemon.jobs.rebuild import open_table
from support.homes import invoke


def make_home(root: Path, runs: Path | None = None) -> Home:
    """Makes a home, whose `runs/` is a link to `runs`."""
    home = Home(root)
    home.create()
    if runs is not None:
        home.runs.rmdir()
        home.runs.symlink_to(runs)
    return home


def open_and_close(home: Home) -> None:
    """Opens the table as a daemon does at its start."""
    open_table(home).close()


def change_queue(home: Home) -> None:
    """Changes the queue as a command does without a daemon."""
    with open_table_alone(home) as table:
        table.pause_queue()


@pytest.mark.parametrize("use", [open_and_close, change_queue, claim_runs])
def test_a_second_home_is_refused_until_it_has_a_folder_of_its_own(tmp_path: Path, use: Callable[[Home], None]) -> None:
    first = make_home(tmp_path / "first")
    open_and_close(first)
    mark = (first.runs / MARK).read_text()
    second = make_home(tmp_path / "second", first.runs)
    with pytest.raises(
        RunsShared, match=rf"is the runs/ of the home {first.root} too, by the link {second.runs}: .*mkdir"
    ):
        use(second)
    assert (first.runs / MARK).read_text() == mark
    if use is open_and_close:
        assert "the runs/ of the home" in invoke(second, "doctor").output
    second.runs.unlink()
    second.runs.mkdir()
    use(second)
    use(first)


def test_a_copy_whose_link_leads_to_the_originals_runs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "drive").mkdir()
    first = make_home(tmp_path / "first", tmp_path / "drive")
    open_and_close(first)
    shutil.copytree(first.root, tmp_path / "copy", symlinks=True)
    with pytest.raises(RunsShared):
        open_and_close(Home(tmp_path / "copy"))
    open_and_close(first)
    first.root.rename(tmp_path / "renamed")
    open_and_close(Home(tmp_path / "renamed"))


def test_a_home_that_is_no_more_has_no_claim(tmp_path: Path) -> None:
    (tmp_path / "drive").mkdir()
    open_and_close(make_home(tmp_path / "first", tmp_path / "drive"))
    shutil.rmtree(tmp_path / "first")
    second = make_home(tmp_path / "second", tmp_path / "drive")
    open_and_close(second)
    owner, identity = RunsOwner.read(second.runs), read_identity(second.root)
    assert owner is not None
    assert identity is not None
    assert owner.home == identity.id


def test_a_mark_that_was_copied_in_with_another_homes_results_counts_for_nothing(tmp_path: Path) -> None:
    first, second = make_home(tmp_path / "first"), make_home(tmp_path / "second")
    claim_runs(first)
    shutil.copytree(first.runs, second.runs, dirs_exist_ok=True)
    claim_runs(second)
    assert json.loads((second.runs / MARK).read_text())["root"] == str(second.root)


def test_a_folder_of_a_home_on_another_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_home(tmp_path / "first")
    monkeypatch.setattr(runs_owner, "find_host_id", lambda: "laptop")
    claim_runs(first)
    monkeypatch.setattr(runs_owner, "find_host_id", lambda: "desk")
    second = make_home(tmp_path / "second", first.runs)
    with pytest.raises(
        RunsShared, match=r"of the home .*/first on laptop too.*if that home is no more, delete .*\.home\.json"
    ):
        claim_runs(second)
    identity = read_identity(second.root)
    assert identity is not None
    owner = RunsOwner.read(second.runs)
    assert owner is not None
    moved = replace(identity, former=(owner.home,))  # it came here from there
    assert not owner.is_rival_of(second, moved)
