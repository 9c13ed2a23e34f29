"""Each way in which watchfiles fails or is silent, and a daemon that finds every file all the same.

tests/whole/test_folder_of_another_user.py has those that need a mount or the kernel's limits: no inotify instances, no watches, unmounting.
"""

import asyncio
import ctypes
import os
import shutil
import signal
import struct
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.control.client import Client
from prefd.daemon.home.settings import Config, WatchConfig
from prefd.daemon.inbox import watcher as watch
from prefd.daemon.machine import mounts
from prefd.daemon.machine.mounts import Mount
from support import fake_worker
from support.quick_timing import QUICK_TIMING
from support.running_daemon import Place, process

EVENTS_ONLY = Config(watch=WatchConfig(settle_seconds=0.05, rescan_seconds=30), stop_grace_seconds=1.0)
"""No rescan helps: what is found is found by an event, or by polling."""
MOVED, OVERFLOWN = 0xC0, 0x4000
"""inotify's bits."""


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such names")
def test_a_name_that_is_not_utf8_ends_the_events_and_the_folder_is_polled(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.timing = replace(QUICK_TIMING, folder_poll=0.05)
    with place.daemon(EVENTS_ONLY) as client:
        fake_worker.wait_for(lambda: client.status().watcher.mode == "events")
        os.mknod(os.fsencode(place.home.jobs) + b"/bad\xff.yaml")
        fake_worker.wait_for(lambda: "bad" in str(client.status().watcher.left_alone))
        place.drop("a.yaml")
        place.wait_for("done")
        assert client.status().watcher.left_alone == {
            r"'bad\udcff.yaml'": "has a name that is not UTF-8 and is left alone"
        }
        client.stop(10)


def test_a_folder_that_is_deleted_and_made_again_is_watched_again(place: Place) -> None:
    with place.daemon(EVENTS_ONLY) as client:
        for count in (1, 2):
            fake_worker.wait_for(lambda: client.status().watcher.mode == "events")
            shutil.rmtree(place.home.jobs)  # the new one often has the old one's inode
            fake_worker.wait_for(place.home.rejected.is_dir)
            place.drop(f"{count}.yaml")
            place.wait_for(*["done"] * count)
        fake_worker.wait_for(lambda: client.status().watcher.mode == "events")
        assert client.status().watcher.error is None
        client.stop(10)


def test_a_renamed_folder_is_not_ours_any_more_and_the_new_one_is(place: Place) -> None:
    away = place.folder / "away"
    with place.daemon() as client:
        fake_worker.wait_for(lambda: client.status().watcher.mode == "events")
        place.home.jobs.rename(away)
        (away / "old.yaml").write_text(fake_worker.spec_text(place.folder, name=""))
        fake_worker.wait_for(place.home.rejected.is_dir)
        place.drop("new.yaml", name="")
        (job,) = place.wait_for("done")
        assert job.name == "new"
        assert (away / "old.yaml").exists()


def test_files_written_right_after_the_folder_was_made_are_all_found(place: Place) -> None:
    spec = fake_worker.spec_text(place.folder, name="")
    with place.daemon() as client:
        client.act_on_queue("pause")
        for turn in range(3):
            place.home.jobs.rename(place.folder / f"away{turn}")
            place.home.jobs.mkdir(exist_ok=True)
            for number in range(10):
                (place.home.jobs / f"{turn}-{number}.yaml").write_text(spec)
            fake_worker.wait_for(lambda turn=turn: len(place.jobs()) == 10 * (turn + 1))
    assert sorted(job.name for job in place.jobs()) == [f"{turn}-{number}" for turn in range(3) for number in range(10)]


def overflow(folder: Path) -> bool:
    """Have more happen in `folder` than the kernel keeps for a watcher that does not read; whether it lost some."""
    libc = ctypes.CDLL(None, use_errno=True)
    mine = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(mine, os.fsencode(folder), MOVED) > 0
    queue_size = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    names = [folder / ".a", folder / ".b"]
    names[0].touch()
    for _ in range(queue_size // 2 + 1):  # two events each
        names[0].rename(names[1])
        names.reverse()
    try:
        content = bytearray()
        while True:
            try:
                content += os.read(mine, 1 << 20)
            except BlockingIOError:
                break
    finally:
        os.close(mine)
    position, last = 0, 0
    while position < len(content):
        _, last, _, size = struct.unpack_from("iIII", content, position)
        position += 16 + size
    return last == OVERFLOWN


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
def test_a_file_that_comes_when_the_kernels_queue_is_full_is_found(place: Place) -> None:
    with process(place, "rescan_seconds = 60\n") as daemon:
        client = Client(place.home)
        fake_worker.wait_for(lambda: client.status().watcher.mode == "events")
        daemon.send_signal(signal.SIGSTOP)
        try:
            assert overflow(place.home.jobs)
            place.drop("a.yaml")
        finally:
            daemon.send_signal(signal.SIGCONT)
        place.wait_for("done")


def test_a_queue_that_overflows_says_nothing_and_the_rescan_finds_the_file(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(*_: object, stop_event: asyncio.Event, **__: object) -> AsyncIterator[set[Any]]:
        await stop_event.wait()
        return
        yield set()

    monkeypatch.setattr(watch, "awatch", deaf)
    with place.daemon() as client:
        fake_worker.wait_for(lambda: client.status().watcher.mode == "events")
        place.drop("a.yaml")
        place.wait_for("done")
        assert client.status().watcher.last_event is None


@pytest.mark.parametrize("setting", [True, False])
def test_a_network_mount_is_polled_by_itself_and_any_folder_where_it_is_asked_for(
    place: Place, monkeypatch: pytest.MonkeyPatch, setting: bool
) -> None:
    def no_events(*_: object, **__: object) -> None:
        raise AssertionError("there are none to be had")

    listed = [Mount("/", "ext4" if setting else "9p", "host")]
    monkeypatch.setattr(mounts, "list_mounts", lambda: listed)
    monkeypatch.setattr(watch, "awatch", no_events)
    place.timing = replace(QUICK_TIMING, folder_poll=0.05)
    with place.daemon(Config(watch=WatchConfig(settle_seconds=0.1, rescan_seconds=30, polling=setting))) as client:
        place.drop("a.yaml")
        place.wait_for("done")
        watcher = client.status().watcher
        why = "watch.polling is set" if setting else "9p from host tells of no changes made elsewhere"
        assert (watcher.mode, watcher.why, watcher.error) == ("polling", why, None)
        assert (watcher.last_event or 0) > time.time() - 20
        client.stop(10)
