"""The daemon killed before each of its own steps, and several daemons started on one home at once.

A step is whatever changes what the next daemon finds: a file opened for writing, renamed, made or removed, a
transaction committed, a worker started. Daemons are forks of the process that `faults_daemon.py` runs these in: it has
everything imported and no threads. Their workers are stand-ins.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import random
import re
import signal
import socket
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prefd.daemon.control.client import Client, DaemonNotRunning
from prefd.daemon.home import lock
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.service.daemon import serve
from support import fake_worker
from support.dropping_specs import Drop
from support.random_operations import Counts, Found, audit

SIDE_BY_SIDE = 4
REFUSED = 3
PATIENCE_SECONDS = 120.0
CONFIG = "stop_grace_seconds = 5\n[watch]\nsettle_seconds = 0.02\nrescan_seconds = 0.2\n"
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate")


class Daemon:
    """A daemon in a fork. `die_at`: it kills itself before that step of its; its steps go to `trace`, one a line."""

    def __init__(self, home: Home, worker: Sequence[str], die_at: int = 0, trace: Path | None = None) -> None:
        self.status: int | None = None
        if (pid := os.fork()) == 0:
            log = os.open(home.root / "daemon.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 2)
            logging.getLogger("watchfiles").setLevel(logging.WARNING)
            if trace is not None:
                Steps(home.root, die_at, os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND)).install()
            try:
                serve(home, worker)
                os._exit(0)
            except lock.AlreadyRunning as error:
                os.write(2, f"refused: {error}\n".encode())
                os._exit(REFUSED)
            finally:
                os._exit(1)
        self.pid = pid

    def ended(self) -> bool:
        """`status` says how: an exit code, or minus a signal's number."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status is not None

    def end(self, number: signal.Signals) -> int:
        if not self.ended():
            os.kill(self.pid, number)
        wait_for(self.ended)
        assert self.status is not None
        return self.status


class Steps:
    """Counts what this process changes in `root`, and dies before the `die_at`-th change."""

    def __init__(self, root: Path, die_at: int, trace: int) -> None:
        self.root = str(root)
        self.die_at = die_at
        self.trace = trace
        self.done = 0
        self.statement = ""

    def install(self) -> None:
        connect = sqlite3.connect

        def traced(*arguments: Any, **more: Any) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*arguments, **more)
            connection.set_trace_callback(self.sql)
            return connection

        sqlite3.connect = traced  # type: ignore[assignment]
        sys.addaudithook(self.event)

    def event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            task = next(each for each in arguments[1] if each in ("catalog", "ready", "precompute", "training"))
            self.step(f"start the worker: {task}")
        elif event in CHANGES or (event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
            paths = [os.fspath(each) for each in arguments if isinstance(each, str | Path)]
            inside = [plain(path, self.root) for path in paths if path.startswith(self.root)]
            if inside:
                self.step(f"{event.removeprefix('os.')} {' to '.join(inside)}")

    def sql(self, statement: str) -> None:
        if statement.startswith("BEGIN"):
            self.statement = ""
        elif statement == "COMMIT":
            self.step(f"commit {self.statement or 'nothing'}")
        elif not self.statement and not statement.startswith(("SELECT", "PRAGMA")):
            plain_words = re.sub(r"= \d+|[,(].*", "", " ".join(statement.split())).split()
            self.statement = " ".join(plain_words[:6])

    def step(self, what: str) -> None:
        self.done += 1
        os.write(self.trace, f"{what}\n".encode())
        if self.done == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def plain(path: str, root: str) -> str:
    """A path in the home without what differs from run to run."""
    name = path.removeprefix(root).strip("/") or "."
    name = re.sub(r"[0-9A-HJKMNP-TV-Z]{26}", "ULID", name)
    return re.sub(r"\.\d+\.tmp", ".PID.tmp", re.sub(r"runs/\d+", "runs/N", name))


def wait_for(true: Callable[[], object]) -> None:
    fake_worker.wait_for(lambda: bool(true()), PATIENCE_SECONDS)


# --- killed before each step


def steps(folder: Path, count: int, seed: int) -> Found:
    """A life of a daemon for each of `count` of its steps, different ones first, ended before it; the next takes over."""
    folder.mkdir(parents=True)
    life = Life(folder / "unbroken")
    life.live()
    names = life.steps()
    firsts = {name: index for index, name in reversed(list(enumerate(names, start=1)))}
    others = sorted(set(range(1, len(names) + 1)) - set(firsts.values()))
    different = sorted(firsts.values())
    chosen = [*different[:: -(-len(different) // count)], *others[: max(0, count - len(different))]]
    with multiprocessing.get_context("fork").Pool(SIDE_BY_SIDE) as pool:
        results = pool.map(partial(killed_life, folder), chosen, chunksize=1)
    counts = {"steps in all": len(names), "different ones": len(firsts), "kills": 0}
    seen: Counter[str] = Counter()
    for step, step_counts in results:
        seen[step] += 1
        for name, number in step_counts.items():
            counts[name] = counts.get(name, 0) + number
    return {"counts": counts, "seen": dict(seen)}


def killed_life(folder: Path, number: int) -> tuple[str, Counts]:
    life = Life(folder / str(number), number)
    counts = life.live()
    return life.steps()[number - 1], counts


class Life:
    """What a daemon does in its life: it starts, takes three files, runs three jobs, one of them again, and stops."""

    def __init__(self, folder: Path, die_at: int = 0) -> None:
        folder.mkdir()
        self.home = Home(folder / "home")
        self.home.create()
        self.home.config.write_text(CONFIG)
        self.worker = fake_worker.make_worker(folder)
        self.trace = folder / "steps.txt"
        spec = json.loads(fake_worker.spec_text(folder))
        self.drops = [
            Drop("a.yaml", spec | {"name": "a", "loss": {"name": "cpo"}}, "rename-in"),
            Drop("b.yaml", spec | {"name": "b", "sweep": {"loss.name": ["ipo", "dpop"]}}, "rename-in", jobs=2),
            Drop("c.yaml", spec | {"modle": "c"}, "rename-in", good=False),
        ]
        self.kills = 0
        self.daemon = Daemon(self.home, self.worker, die_at, self.trace)

    def steps(self) -> list[str]:
        return self.trace.read_text().splitlines()

    def live(self) -> Counts:
        counts = {"did not end": 0, "unclean ends": 0}
        try:
            for drop in self.drops:
                drop.write(self.home)
            self.until(lambda: self.states().count("done") == 3 and any(self.home.rejected.glob("c*.yaml")))
            self.retry()
            self.until(lambda: self.states().count("done") == 3)
        except AssertionError:
            counts["did not end"] = 1
        if self.daemon.end(signal.SIGTERM) == -signal.SIGKILL:
            self.again()
            self.daemon.end(signal.SIGTERM)
        counts["unclean ends"] = int(self.daemon.status != 0)
        return {"kills": self.kills} | counts | audit(self.home, self.drops)

    def again(self) -> None:
        self.kills += 1
        self.daemon = Daemon(self.home, self.worker)
        wait_for(lambda: answers(self.home) == self.daemon.pid)

    def until(self, true: Callable[[], bool]) -> None:
        def now() -> bool:
            if self.daemon.ended():
                self.again()
            return true()

        wait_for(now)

    def states(self) -> list[str]:
        with JobTable.open_readonly(self.home.database) as table:
            return [job.state for job in table.list()]

    def retry(self) -> None:
        with JobTable.open(self.home.database) as table:
            table.retry(1, fresh=True)


def answers(home: Home) -> int | None:
    """The pid of the daemon that serves."""
    try:
        return Client(home).status().pid
    except DaemonNotRunning:
        return None


# --- several at once, and what dead ones leave


def rivals(folder: Path, count: int, seed: int) -> Found:
    """`count` times four daemons at once on what a killed one left: a lock file, a socket, a daemon.json that names somebody's pid."""
    folder.mkdir(parents=True)
    rng = random.Random(seed)
    home = Home(folder / "home")
    home.create()
    home.config.write_text(CONFIG)
    worker = fake_worker.make_worker(folder)
    spec = json.loads(fake_worker.spec_text(folder))
    counts = dict.fromkeys(("rounds", "refused", "two served", "none served", "named somebody else"), 0)
    drops = []
    for number in range(count):
        leave_stale(home, number)
        log_size = home.log.stat().st_size if home.log.exists() else 0
        daemons = [Daemon(home, worker) for _ in range(4)]
        drops.append(Drop(f"{number}.yaml", spec | {"name": f"ok {number}"}, "rename-in"))
        drops[-1].write(home)
        fake_worker.wait_for(lambda: sum(daemon.ended() for daemon in daemons) >= 3, PATIENCE_SECONDS)  # noqa: B023
        left = [daemon for daemon in daemons if not daemon.ended()]
        counts["rounds"] += 1
        counts["none served"] += not left
        counts["refused"] += sum(daemon.status == REFUSED for daemon in daemons)
        counts["two served"] += any(daemon.status not in (None, REFUSED) for daemon in daemons)
        named = re.findall(r"refused: another daemon \(pid (\d+)", home.log.read_text()[log_size:])
        counts["named somebody else"] += sum(int(pid) not in {daemon.pid for daemon in left} for pid in named)
        time.sleep(rng.uniform(0, 0.5))
        for daemon in left:
            daemon.end(signal.SIGKILL)
    last = Daemon(home, worker)
    wait_for(lambda: answers(home) == last.pid)
    with JobTable.open_readonly(home.database) as table:
        fake_worker.wait_for(lambda: table.counts()["done"] == count, PATIENCE_SECONDS)
    counts["unclean ends"] = last.end(signal.SIGTERM)
    return {"counts": counts | audit(home, drops), "seen": {}}


def leave_stale(home: Home, number: int) -> None:
    """On top of what the killed one did leave: this process's pid, another's text in the lock, a socket nobody answers."""
    if number % 2:
        record = {"pid": os.getpid(), "started_at": time.time(), "socket": str(home.socket)}
        (home.run / "daemon.json").write_text(json.dumps(record))
        home.lock.write_text(str(os.getpid()))
        home.socket.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as nobody, contextlib.chdir(home.run):  # its whole path may be too long
            nobody.bind(home.socket.name)
