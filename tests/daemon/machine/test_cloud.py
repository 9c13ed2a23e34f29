"""Files of which only the name is on this Mac, before they are opened by anything that would wait for them."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from prefd.daemon.machine import cloud
from prefd.daemon.machine.cloud import (
    find_in_cloud,
    find_named,
    find_placeholder,
    is_dataless,
    list_in_cloud,
    list_named,
)
from support.fake_cloud import fake_cloud


def test_the_flag_of_the_system_tells(tmp_path: Path) -> None:
    assert not is_dataless(os.stat(tmp_path))
    flagged = SimpleNamespace(st_flags=cloud.SF_DATALESS | 0x20)
    assert is_dataless(flagged)  # type: ignore[arg-type]


def test_what_stands_for_a_file_that_older_systems_have_taken_away_tells_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_cloud(monkeypatch)
    assert [find_named(name) for name in (".a.yaml.icloud", ".icloud", ".a.yaml", "a.icloud")] == [
        "a.yaml",
        None,
        None,
        None,
    ]
    here, gone = tmp_path / "here.jsonl", tmp_path / "gone.jsonl"
    for name in ("here.jsonl", ".here.jsonl.icloud", ".gone.jsonl.icloud"):
        (tmp_path / name).touch()
    assert find_placeholder(here) is None
    assert find_placeholder(gone) == tmp_path / ".gone.jsonl.icloud"
    assert sorted(list_named(tmp_path)) == [gone, here]
    assert list(list_in_cloud([tmp_path / "none", here, gone])) == [gone]


def test_elsewhere_every_file_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "CAN_EVICT", False)
    (tmp_path / ".gone.jsonl.icloud").touch()
    assert find_in_cloud([tmp_path / "gone.jsonl"]) is None
    assert list(list_named(tmp_path)) == []


def test_a_download_is_asked_for_once_and_by_so_many_threads_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests, arrival = list[str](), threading.Event()

    def wait(path: Path) -> None:
        requests.append(path.name)
        arrival.wait(30)

    monkeypatch.setattr(cloud, "_read_byte", wait)
    for name in ("a", "a", "b", "c", "d", "e"):
        cloud.request_download(tmp_path / name)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("download of ")]
    arrival.set()
    for thread in threads:
        thread.join(30)
    assert sorted(requests) == ["a", "b", "c", "d"]
    assert cloud._requested == set(), "there is room again"


def test_a_real_read_of_a_file_that_is_there_or_gone_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name in ("file", "none"):
        cloud._read_and_forget(tmp_path / name)
    assert cloud._requested == set()
