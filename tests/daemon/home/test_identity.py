"""What tells a home from its copies."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from prefd.daemon.home import identity
from prefd.daemon.home.identity import (
    HomePlace,
    begin_identity,
    is_served_by,
    read_folder_id,
    read_identity,
    renew_identity,
)
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.home_copies import is_unsettled
from prefd.daemon.machine.mounts import Mount


def test_a_new_home_gets_an_id_that_stays(home: Path) -> None:
    ready_home = Home(home)
    ready_home.create()
    first = read_identity(home)
    assert first is not None
    assert len(first.id) == 26
    ready_home.create()
    assert read_identity(home) == first


def test_a_renamed_folder_is_the_same_and_a_copy_in_its_place_is_not(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    first = begin_identity(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    assert first.place.is_folder_of(HomePlace.find(tmp_path / "b"))
    time.sleep(0.02)
    shutil.copytree(tmp_path / "b", tmp_path / "a")
    assert not first.place.is_folder_of(HomePlace.find(tmp_path / "a"))


HERE = HomePlace("/home/mia/prefd", 2049, 77, 9001, "desk", 5.0)


@pytest.mark.parametrize(
    ("now", "same"),
    [
        (HERE, True),
        (replace(HERE, root="/home/mia/tuning"), True),  # renamed
        (replace(HERE, device=2065), True),  # mounted again
        (replace(HERE, device=2065, root="/media/disk"), True),  # elsewhere: the volume is the same
        (replace(HERE, device=2065, volume=9002), True),  # a network mount, at its path
        (replace(HERE, device=2065, volume=9002, root="/clone"), False),  # a clone of the whole disk
        (replace(HERE, born=6.0), False),  # a new folder that got the inode of the old one
        (replace(HERE, born=None), True),  # a file system that does not tell
        (replace(HERE, inode=78), False),  # restored in place
        (replace(HERE, inode=78, host="laptop"), False),
    ],
)
def test_a_folder_is_known_by_what_a_copy_cannot_have(now: HomePlace, same: bool) -> None:
    assert HERE.is_folder_of(now) == same


def test_a_file_system_that_renumbers_folders_is_taken_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "find_mount", lambda path: Mount("/home/mia", "exfat", "/dev/sdb1"))
    assert HERE.is_folder_of(replace(HERE, inode=12, device=9))
    assert not HERE.is_folder_of(replace(HERE, inode=12, device=9, root="/home/mia/copy"))


def test_a_copy_remembers_whose_it_was(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "jobs").mkdir(parents=True)
    (tmp_path / "b" / "jobs" / "x.yaml").touch()
    first = begin_identity(tmp_path / "a")
    second = renew_identity(tmp_path / "b", first, tmp_path / "b" / "jobs")
    assert second.ids == (first.id, second.id)
    assert (second.copied_from, second.settled, list(second.specs)) == (str(tmp_path / "a"), False, ["x.yaml"])
    assert read_identity(tmp_path / "b") == second
    assert identity.original_lives(second)
    shutil.rmtree(tmp_path / "a")
    assert not identity.original_lives(second)


@pytest.mark.parametrize("text", ["", "[]", '{"id": 3}', '{"id": "01A"}', '{"id": "01A", "place": {"root": 1}}'])
def test_a_file_that_is_no_identity_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "home.json").write_text(text)
    assert read_identity(tmp_path) is None


def test_the_id_of_a_folder_is_none_where_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert read_folder_id(tmp_path / "none") is None
    assert read_folder_id(tmp_path / "file" / "none") is None
    assert read_folder_id(tmp_path) == (tmp_path.stat().st_dev, tmp_path.stat().st_ino)


def test_a_daemon_serves_a_folder_and_not_a_path(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = begin_identity(tmp_path / "a")
    status = {
        "home": str(tmp_path / "a"),
        "home_id": first.id,
        "home_folder": list(read_folder_id(tmp_path / "a") or ()),
    }
    assert is_served_by(status, tmp_path / "a")
    assert not is_served_by(status, tmp_path / "b")
    assert not is_served_by(status, tmp_path / "none")
    document = json.loads((tmp_path / "a" / "home.json").read_text())
    (tmp_path / "a" / "home.json").write_text(json.dumps(document | {"id": "01ANOTHER"}))
    assert not is_served_by(status, tmp_path / "a"), "another home was put into the folder"
    assert is_served_by({"home": str(tmp_path / "a")}, tmp_path / "a"), "an earlier version's daemon"
    assert not is_served_by({"home": str(tmp_path / "a")}, tmp_path / "b")


def test_of_two_homes_whose_contents_change_places_one_is_the_original(tmp_path: Path) -> None:
    """A copy is moved into the very folder of the original, whose own files were moved out: one of them has the folder's id."""
    original, old = tmp_path / "home", tmp_path / "old"
    for folder in (original, old):
        folder.mkdir()
    begin_identity(original)
    shutil.copytree(original, tmp_path / "copy")
    for source, target in ((original, old), (tmp_path / "copy", original)):
        for file in source.iterdir():
            file.rename(target / file.name)
    unsettled = [is_unsettled(Home(folder)) for folder in (original, old)]
    assert unsettled == [False, True], "the other one's jobs are held, so nothing runs twice"
