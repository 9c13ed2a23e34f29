"""Trouble of the machine that passes, while a queue waits: none of it is charged to a job.

A job runs when the trouble begins, and goes on to its next phase meanwhile; a file is dropped meanwhile; the others wait. When
the trouble is over they all run, in their order.
"""

from __future__ import annotations

import itertools
import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefd.daemon.control.client import Client
from prefd.daemon.home.layout import Home
from support import fake_worker
from support.random_operations import Found
from support.running_daemon import Place

PATIENCE_SECONDS = 300.0


@dataclass(frozen=True)
class Trouble:
    """What is wrong with the machine for a while: how it begins and ends, and a part of how it is told."""

    begin: Callable[[Place], object]
    end: Callable[[Place], object]
    message: str
    job: str = "ok"
    """The stand-in worker's behaviour in the jobs that wait."""
    loss: str = "sigmoid"
    stops_running: bool = False
    """Whether the job that runs cannot go on either."""
    seen_at_once: bool = False
    """Whether the daemon notices it by itself, and not by a worker that fails."""
    from_start: bool = False
    """Whether the daemon starts in it."""


def answer(place: Place, text: str) -> None:
    """Let the worker answer so when it is asked for the losses, again where the daemon looks whether anything has changed."""
    (place.folder / "catalog.json").write_text(text)


def with_mine(place: Place, error: str | None = None) -> str:
    """The catalogue with a plugin that brings the loss `mine`, or that cannot be loaded. It depends on itself."""
    plugin: dict[str, Any] = {"name": "mine", "version": None, "source": "/mine.py", "formats": [], "error": error}
    losses = fake_worker.CATALOG["losses"] | ({"mine": fake_worker.loss()} if error is None else {})
    plugins = [*fake_worker.CATALOG["plugins"], plugin | {"losses": [] if error else ["mine"]}]
    return json.dumps({"losses": losses, "plugins": plugins, "files": [str(place.folder / "catalog.json")]})


def interpreter(place: Place) -> Path:
    """The link that the workers of this place are started by."""
    return place.folder / "python"


TROUBLES = {
    "settings": Trouble(
        lambda place: place.home.config.write_text("parallel = 2\n[worker\nnice = 5\n"),
        lambda place: place.home.config.write_text("stop_grace_seconds = 1.0\n[watch]\nsettle_seconds = 0.05\n"),
        "config.toml cannot be read: ",
        seen_at_once=True,
    ),
    "losses": Trouble(
        lambda place: answer(place, "!ImportError: No module named 'mlx.core'"),
        lambda place: answer(place, with_mine(place)),
        "the losses cannot be listed: ",
    ),
    "unlisted": Trouble(
        lambda place: answer(place, "!ImportError: No module named 'mlx.core'"),
        lambda place: answer(place, with_mine(place)),
        "the losses cannot be listed: ",
        from_start=True,
    ),
    "installation": Trouble(
        lambda place: (place.folder / "trouble.txt").write_text("ImportError: cannot import name 'core' from 'mlx'"),
        lambda place: (place.folder / "trouble.txt").unlink(),
        "ImportError: cannot import name 'core' from 'mlx'; the queue waits",
        stops_running=True,
    ),
    "interpreter": Trouble(
        lambda place: interpreter(place).unlink(),
        lambda place: interpreter(place).symlink_to(sys.executable),
        "No such file or directory",
        stops_running=True,
    ),
    "plugin": Trouble(
        lambda place: answer(place, with_mine(place, "it ends the process that imports it (SIGSEGV)")),
        lambda place: answer(place, with_mine(place)),
        "plugin mine cannot be loaded: it ends the process that imports it (SIGSEGV)",
        loss="mine",
    ),
    "device": Trouble(
        lambda place: (place.home.root / "display").touch(),
        lambda place: (place.home.root / "display").unlink(),
        "the GPU failed, which passes by itself: ",
        job="interrupted",
    ),
    "hub": Trouble(
        lambda place: (place.home.root / "offline").touch(),
        lambda place: (place.home.root / "offline").unlink(),
        "the hub cannot be reached: ",
        job="offline",
    ),
}


class Warnings(logging.Handler):
    """Keeps the lines of the log from warnings on."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def machine(fault: str, folder: Path, count: int) -> Found:
    """Let `count` jobs wait through one trouble."""
    trouble = TROUBLES[fault]
    home = Home(folder / "home")
    home.create()
    _, *worker = fake_worker.make_worker(folder)
    place = Place(home, folder, (str(folder / "python"), *worker))
    interpreter(place).symlink_to(sys.executable)
    answer(place, with_mine(place))
    log = Warnings()
    logging.getLogger().addHandler(log)
    if trouble.from_start:
        trouble.begin(place)
    try:
        with place.daemon() as client:
            return {"counts": go_through(place, client, trouble, count, log), "seen": {}}
    finally:
        logging.getLogger().removeHandler(log)


def go_through(place: Place, client: Client, trouble: Trouble, count: int, log: Warnings) -> dict[str, int]:
    good: dict[str, Any] = json.loads(fake_worker.spec_text(place.folder))  # once: it writes the data anew
    settings: dict[str, Any] = {"name": trouble.job, "loss": {"name": trouble.loss}}

    def drop(file: str, **more: Any) -> None:
        place.drop(f"{file}.yaml", json.dumps(good | more))

    if trouble.job == "offline":
        settings["model"] = "org/name"
    if not trouble.from_start:
        drop("first", name="gate")
        fake_worker.wait_for(lambda: [job.state for job in place.jobs()] == ["precomputing"])
        for number in range(count):
            drop(f"{number:03}", **settings | {"training": {"iters": 2, "seed": number}})
        fake_worker.wait_for(lambda: len(place.jobs()) == count + 1)
        trouble.begin(place)
        if trouble.seen_at_once:
            fake_worker.wait_for(lambda: trouble.message in (client.status().queue.waits_for or ""))
        (place.home.root / "gate").touch()
        if not trouble.stops_running:
            fake_worker.wait_for(lambda: place.jobs()[0].state == "done")
    drop("dropped", **settings | {"training": {"iters": 3}})
    fake_worker.wait_for(lambda: trouble.message in (client.status().queue.waits_for or ""))
    if not trouble.from_start:
        fake_worker.wait_for(lambda: any(trouble.message in job.waiting for job in place.jobs()))
    began = time.monotonic()
    while time.monotonic() - began < 1.0:  # the trouble lasts for many tries
        client.status()
        time.sleep(0.05)
    early = sum(job.state == "done" for job in place.jobs()[1:])
    trouble.end(place)
    expected = 1 if trouble.from_start else count + 2
    ends = ("done", "failed", "cancelled")
    fake_worker.wait_for(
        lambda: len(place.jobs()) == expected and all(job.state in ends for job in place.jobs()), PATIENCE_SECONDS
    )
    jobs = place.jobs()
    starts = [job.started_at or 0.0 for job in jobs[1:]]
    return {
        "jobs": len(jobs),
        "done": sum(job.state == "done" for job in jobs),
        "failed": sum(job.state != "done" for job in jobs),
        "rejected": len(place.rejected()),
        "run meanwhile": early,
        "out of order": sum(one > other for one, other in itertools.pairwise(starts)),
        "not in the log": 0 if any(trouble.message in line for line in log.lines) else 1,
        "still told when it is over": 1 if client.status().queue.waits_for else 0,
    }
