"""The program that keeps the machine awake beside each worker, and a battery that runs low."""

import asyncio
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.machine import heat
from prefd.daemon.queue import wakefulness
from prefd.daemon.queue.wakefulness import keep_awake
from support.fake_worker import wait_for
from support.running_daemon import QUICK, Place

HOLDER = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"


def keep_by(monkeypatch: pytest.MonkeyPatch, *codes: str, note: Path) -> list[int]:
    """Have the machine kept awake by these programs, and list for which processes."""
    pids: list[int] = []

    def list_keepers(pid: int) -> list[list[str]]:
        pids.append(pid)
        return [[sys.executable, "-I", "-S", "-c", code, str(note)] for code in codes]

    monkeypatch.setattr(wakefulness, "list_keepers", list_keepers)
    return pids


async def read(note: Path) -> int:
    """The pid that the program has noted."""
    while not (note.exists() and note.read_text()):
        await asyncio.sleep(0.01)
    return int(note.read_text())


def test_the_program_runs_inside_the_block_and_is_ended_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_by(monkeypatch, HOLDER, note=tmp_path / "note")

    async def hold() -> int:
        async with keep_awake(1, True):
            pid = await asyncio.wait_for(read(tmp_path / "note"), 60)
            assert psutil.pid_exists(pid)
            return pid

    pid = asyncio.run(hold())
    assert not psutil.pid_exists(pid)


def test_where_the_first_is_refused_the_next_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_by(monkeypatch, "raise SystemExit(1)", HOLDER, note=tmp_path / "note")

    async def hold() -> None:
        async with keep_awake(1, True):
            await asyncio.wait_for(read(tmp_path / "note"), 60)

    asyncio.run(hold())


def test_where_all_are_refused_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keep_by(monkeypatch, "raise SystemExit(1)", note=tmp_path / "note")

    async def hold() -> None:
        async with keep_awake(77, True):
            while "process 77" not in caplog.text:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(hold(), 60))


def test_a_daemon_keeps_the_machine_awake_for_each_worker_unless_told_not_to(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = keep_by(monkeypatch, HOLDER, note=tmp_path / "note")
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
    assert len(pids) == 2, "a worker for each phase"
    with place.daemon(QUICK.model_copy(update={"worker": WorkerLimits(prevent_sleep=False)})):
        place.drop("b.yaml")
        place.wait_for("done", "done")
    assert len(pids) == 2


def test_on_a_low_battery_a_job_stops_waits_and_goes_on_when_it_is_plugged_in(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    battery = [SimpleNamespace(percent=80.0, power_plugged=False)]
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery[0], raising=False)
    config = QUICK.model_copy(update={"worker": WorkerLimits(on_battery=40)})
    with place.daemon(config) as client:
        place.drop("slow.yaml", name="sleep")
        wait_for(lambda: [job.state for job in place.jobs()] in (["precomputing"], ["training"]))
        battery[0] = SimpleNamespace(percent=39.0, power_plugged=False)
        wait_for(lambda: place.jobs()[0].state == "queued")
        wait_for(lambda: "at 39 %" in str(client.status().queue.waits_for))
        assert client.status().power.battery_percent == 39.0
        battery[0] = SimpleNamespace(percent=39.0, power_plugged=True)
        wait_for(lambda: place.jobs()[0].state != "queued")
        client.act("cancel", 1)
        place.wait_for("cancelled")


def test_a_mac_that_is_too_hot_stops_a_job_and_lets_it_go_on_when_it_has_cooled(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    level = [1]
    monkeypatch.setattr(heat, "read_thermal_level", lambda: level[0])
    config = QUICK.model_copy(update={"worker": WorkerLimits(pause_on_heat=True)})
    with place.daemon(config) as client:
        place.drop("slow.yaml", name="sleep")
        wait_for(lambda: [job.state for job in place.jobs()] == ["queued"])
        assert "thermal pressure moderate" in str(client.status().queue.waits_for)
        level[0] = 0
        wait_for(lambda: place.jobs()[0].state in ("precomputing", "training"))
        level[0] = 2
        wait_for(lambda: place.jobs()[0].state == "queued")
        assert "thermal pressure heavy" in place.jobs()[0].reason
        level[0] = 0
        wait_for(lambda: place.jobs()[0].state != "queued")
        client.act("cancel", 1)
        place.wait_for("cancelled")
