import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.settings import WatchConfig
from prefd.daemon.inbox import watcher as watch
from prefd.daemon.inbox.watcher import Watcher
from support.quick_timing import QUICK_TIMING

QUICK = WatchConfig(rescan_seconds=0.05)


def run_watcher(folder: Path, config: WatchConfig, body: Callable[[Watcher], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        watcher = Watcher(folder, config, asyncio.Event(), timing=QUICK_TIMING)
        task = asyncio.create_task(watcher.run())
        try:
            await asyncio.sleep(0.1)
            await asyncio.wait_for(body(watcher), 60)
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


async def hint(watcher: Watcher, act: Callable[[], object]) -> None:
    """`act` is noticed, at the latest when it is done again."""
    watcher.changed.clear()
    while not watcher.changed.is_set():
        act()
        try:
            await asyncio.wait_for(watcher.changed.wait(), 0.5)
        except TimeoutError:
            continue


def test_a_dropped_file_is_a_hint(tmp_path: Path) -> None:
    async def body(watcher: Watcher) -> None:
        assert watcher.health.mode == "events"
        await hint(watcher, lambda: (tmp_path / f"{time.monotonic_ns()}.yaml").write_text("x"))
        assert watcher.health.last_event is not None
        assert watcher.health.error is None

    run_watcher(tmp_path, WatchConfig(), body)


def test_a_hint_comes_quickly(tmp_path: Path) -> None:
    async def body(watcher: Watcher) -> None:
        began = time.monotonic()
        (tmp_path / "a.yaml").write_text("x")
        await watcher.changed.wait()
        assert time.monotonic() - began < 0.4

    run_watcher(tmp_path, WatchConfig(), body)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such names")
def test_a_name_that_is_not_utf8_does_not_end_it(tmp_path: Path) -> None:
    async def body(watcher: Watcher) -> None:
        os.mknod(os.fsencode(tmp_path) + b"/bad\xff.yaml")
        while watcher.health.error is None:
            await asyncio.sleep(0.02)
        await hint(watcher, lambda: (tmp_path / f"{time.monotonic_ns()}.yaml").write_text("x"))

    run_watcher(tmp_path, QUICK, body)


def test_a_folder_that_is_not_there_is_waited_for_without_a_word(tmp_path: Path) -> None:
    """The intake tells of it, and the watch on the home does where that has gone away too."""

    async def body(watcher: Watcher) -> None:
        while watcher.health.mode != "polling":
            await asyncio.sleep(0.02)
        assert watcher.health.error is None
        folder.mkdir()
        while watcher.health.mode != "events":
            await asyncio.sleep(0.02)

    folder = tmp_path / "jobs"
    run_watcher(folder, QUICK, body)


def test_a_folder_that_is_deleted_and_made_again_is_watched_again(tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()

    async def body(watcher: Watcher) -> None:
        shutil.rmtree(folder)
        while watcher.health.mode != "polling":
            await asyncio.sleep(0.005)
        folder.mkdir()
        while watcher.health.mode != "events":
            await asyncio.sleep(0.02)
        before = watcher.health.last_event
        await hint(watcher, lambda: (folder / f"{time.monotonic_ns()}.yaml").write_text("x"))
        while watcher.health.last_event == before:
            await hint(watcher, lambda: (folder / f"{time.monotonic_ns()}.yaml").write_text("x"))

    run_watcher(folder, QUICK, body)


def test_no_events_at_all_leaves_the_rescans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_watches(*_: object, **__: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr(watch, "awatch", no_watches)

    async def body(watcher: Watcher) -> None:
        while watcher.health.error is None:
            await asyncio.sleep(0.01)
        assert "inotify watch limit reached" in watcher.health.error
        assert watcher.changed.is_set()

    run_watcher(tmp_path, QUICK, body)
