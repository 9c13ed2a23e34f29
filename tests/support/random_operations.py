"""A home whose daemon and workers get killed: the processes, where they stand when it happens, and the books afterwards."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from prefd.daemon.home import lock
from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.claim_marks import ULID_LENGTH
from prefd.daemon.jobs.job import RETRIED_FRESH
from prefd.daemon.jobs.states import RUNNING
from prefd.daemon.jobs.table import Job, JobTable
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.snapshot import read_frozen_spec
from prefd.daemon.specs.job_spec import JobSpec
from support.dropping_specs import SETTLE_SECONDS, Drop

Counts = dict[str, int]
Found = dict[str, Counts]
"""Of one fault: `counts`, and `seen`, what the kills hit."""
SEEN = ("kills", "specs", "jobs", "done", "retries", "steps in all", "different ones", "rounds", "refused")
"""What `counts` tells; all that is not one of these has to be 0."""
PATIENCE_SECONDS = 600.0
CONFIG = f"""
stop_grace_seconds = 20
[watch]
settle_seconds = {SETTLE_SECONDS}
rescan_seconds = 1.0
"""


@dataclass(frozen=True)
class Worker:
    """A child of a daemon of this home, dead daemons' included; `job` is 0 for one that lists the losses."""

    pid: int
    task: str
    job: int


def workers(home: Home) -> list[Worker]:
    pids = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if str(home.root) not in words or process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        position = words.index(str(home.root))
        if words[position - 1] == "--home" and words[position - 2] in ("precompute", "training", "catalog"):
            pids.append(Worker(process.pid, words[position - 2], int(words[position + 2]) if "--job" in words else 0))
    return pids


def write_each(drops: Iterable[Drop], home: Home) -> None:
    """Writes them one after the other."""
    for drop in drops:
        drop.write(home)


@dataclass
class Besieged:
    """One home: its daemon is started again after each kill, and whoever waits for a job there retries it."""

    home: Home
    command: Sequence[str]
    drops: Iterator[Drop]
    parallel: int = 2
    at_once: int = 3
    """How many of the dropped specs are unfinished, while there are more to drop."""
    dropped: list[Drop] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    counts: Counts = field(
        default_factory=lambda: dict.fromkeys(
            ("retries", "daemons that ended by themselves", "jobs that failed by themselves", "two workers at once"), 0
        )
    )
    _writers: list[threading.Thread] = field(default_factory=list)

    def begin(self) -> None:
        self.home.create()
        self.home.config.write_text(f"parallel = {self.parallel}\n{CONFIG}")
        JobTable.open(self.home.database).close()
        self._start()

    def _start(self) -> None:
        with self.home.log.open("ab") as log:
            self.daemon = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    # --- those who use it

    def tend(self) -> None:
        """Drop what is next, retry what a kill has failed, and look whether any job has two workers."""
        if self.daemon.poll() is not None:
            self.counts["daemons that ended by themselves"] += 1
            self._start()
        with JobTable.open(self.home.database) as table:
            ended = table.list("done", "failed", "cancelled")
            for job in ended:
                if job.state == "failed":
                    self.counts["jobs that failed by themselves"] += "killed" not in job.reason
                    self.counts["retries"] += 1
                    table.retry(job.id)
        while len(self.dropped) - sum(job.state == "done" for job in ended) < self.at_once:
            if (drop := next(self.drops, None)) is None:
                break
            self.drop(drop)
        busy = Counter(worker.job for worker in workers(self.home) if worker.job)
        self.counts["two workers at once"] += sum(number > 1 for number in busy.values())

    def drop(self, *drops: Drop) -> None:
        """Write them one after the other, while everything else goes on."""
        self.dropped += drops
        writer = threading.Thread(target=lambda: write_each(drops, self.home))
        writer.start()
        self._writers.append(writer)

    def tend_until(self, true: Callable[[], bool], seconds: float, every: float = 0.01) -> bool:
        deadline, tended = time.monotonic() + seconds, 0.0
        while not true():
            if time.monotonic() > deadline:
                return False
            if time.monotonic() - tended > 0.25:
                self.tend()
                tended = time.monotonic()
            time.sleep(every)
        return True

    def serving(self) -> bool:
        """Whether the daemon has got so far that it said who it is."""
        holder = lock.read_announcement(self.home)
        return holder is not None and holder.pid == self.daemon.pid

    def running(self) -> list[Job]:
        """Of a daemon that serves: the one before left the jobs in the state that it died in."""
        if not self.serving():
            return []
        with JobTable.open_readonly(self.home.database) as table:
            return table.list(*RUNNING)

    def runs(self) -> Iterator[RunDir]:
        for job in self.running():
            yield RunDir(self.home.job(job.id))

    # --- those who kill

    def strike(self, rng: random.Random) -> bool:
        """SIGKILL the daemon, or a worker, or both; write down what they were at; start the daemon again.

        False where the worker was gone before.
        """
        busy = workers(self.home)
        victim = rng.choices(["daemon", "worker", "both"], [45, 40, 15])[0] if busy else "daemon"
        worker = rng.choice(busy) if victim != "daemon" else None
        if victim != "worker":
            self.daemon.kill()
        hit = worker is not None and kill(worker.pid)
        if victim == "worker":
            assert worker is not None
            self.seen[f"worker | {self._scene_of(worker)}"] += hit
            return hit
        self.daemon.wait()
        self.seen[f"{'both' if hit else 'daemon'} | {self._scene()}"] += 1
        time.sleep(rng.choice([0.0, rng.uniform(0, 0.3), rng.uniform(1, 2)]))  # the last: its orphans end by themselves
        self._start()
        return True

    def say(self, count: int) -> None:
        """How many of `count` kills are done, now and then."""
        done = sum(self.seen.values())
        if done % 10 == 0 or done == count:
            print(f"{self.home.root}: {done} of {count} kills", file=sys.stderr, flush=True)

    def _scene(self) -> str:
        """What the daemon that was just killed was at, the rarest first."""
        home = self.home
        with JobTable.open_readonly(home.database) as table:
            unrecorded = {path.name for path in home.accepted.glob("[!.]*")} - table.sources()
            jobs = table.list("queued", *RUNNING)
        if unrecorded:
            return "between a claim and its row"
        if any(not RunDir(home.job(job.id)).spec.exists() for job in jobs):
            return "between a row and its spec.json"
        if not self.serving():
            return "starting"
        scenes = [job_scene(RunDir(home.job(job.id)), job.state) for job in jobs if job.state in RUNNING]
        if scenes:
            return max(scenes, key=lambda scene: "outcome" in scene)
        return "a job waits for its turn" if jobs else "no job"

    def _scene_of(self, worker: Worker) -> str:
        if worker.task == "catalog":
            return "listing the losses"
        state = "precomputing" if worker.task == "precompute" else "training"
        return job_scene(RunDir(self.home.job(worker.job)), state)

    # --- the end

    def finish(self) -> None:
        """Let every job come to its end with nobody killed, and stop the daemon; then the books."""
        for writer in self._writers:
            writer.join()
        good = sum(drop.good for drop in self.dropped)
        self.counts["did not end"] = 0 if self.tend_until(lambda: self._done() >= good, PATIENCE_SECONDS, 0.1) else 1
        self.tend_until(lambda: not self._in_folder(), 10)
        self.daemon.send_signal(signal.SIGTERM)
        self.counts["unclean ends"] = int(self.daemon.wait(60) != 0)
        self.counts |= audit(self.home, self.dropped)

    def _done(self) -> int:
        with JobTable.open_readonly(self.home.database) as table:
            return table.counts()["done"]

    def _in_folder(self) -> list[str]:
        return [entry.name for entry in os.scandir(self.home.jobs) if entry.is_file()]

    def close(self) -> None:
        """Leave no process behind, whatever happened."""
        self.daemon.kill()
        self.daemon.wait()
        for worker in workers(self.home):
            kill(worker.pid)


def kill(pid: int) -> bool:
    """Whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def job_scene(run: RunDir, state: str) -> str:
    """How far a running job is, from its folder."""
    phase = "precompute" if state == "precomputing" else "training"
    progress = run.progress()
    here = progress is not None and progress.phase == phase
    if (run.root / f"{phase}.json").exists():
        return f"{state}: outcome written, state not yet changed"
    if not here:
        return f"{state}: worker starting"
    if state == "precomputing":
        return f"{state}: scoring"
    if any(run.checkpoints.glob(".step-*")):
        return f"{state}: a checkpoint half-written"
    if any(run.root.glob(".*.partial")):
        return f"{state}: the adapter or the fused model half-written"
    if run.adapter.exists():
        return f"{state}: adapter written, outcome not"
    return f"{state}: between checkpoints" if any(run.checkpoints.glob("step-*")) else f"{state}: before a checkpoint"


# --- the books


def wrong(counts: Counts) -> Counts:
    """What has to be 0 and is not."""
    return {name: number for name, number in counts.items() if name not in SEEN and number}


def audit(home: Home, drops: Sequence[Drop]) -> Counts:
    """Every dropped spec is one job with the spec that was written, done once; every bad one is in rejected/ once."""
    counts = dict.fromkeys(
        ("lost", "run twice", "half-read", "not dropped", "started unasked", "rejected wrongly", "left in jobs/"), 0
    )
    with JobTable.open_readonly(home.database) as table:
        jobs = table.list()
        by_file: dict[str, list[Job]] = {}
        for job in jobs:
            by_file.setdefault(job.source[ULID_LENGTH + 1 :], []).append(job)
        for drop in drops:
            jobs_of_file = by_file.pop(drop.file, [])
            if drop.good:
                counts["lost"] += len(jobs_of_file) < drop.jobs
                counts["run twice"] += len(jobs_of_file) > drop.jobs
                for job in jobs_of_file:
                    events = table.history(job.id)
                    states = [event.state for event in events]
                    wanted = 1 + sum(event.reason == RETRIED_FRESH for event in events)
                    counts["run twice"] += states.count("done") > wanted
                    counts["half-read"] += drop.jobs == 1 and not same_spec(
                        drop, table.spec(job.id), read_frozen_spec(RunDir(home.job(job.id)))
                    )
                    counts["started unasked"] += started_unasked(RunDir(home.job(job.id)), states)
            counts["rejected wrongly"] += rejected_wrongly(home, drop)
            counts["half-read"] += bool(jobs_of_file) and not drop.good
    counts["not dropped"] = len(by_file)
    counts["left in jobs/"] = sum(entry.is_file() for entry in os.scandir(home.jobs))
    counts["database not whole"] = database_faults(home.database)
    return counts


def same_spec(drop: Drop, row: JobSpec, frozen: JobSpec) -> bool:
    """Whether the row and the frozen spec.json are what was written."""
    written = JobSpec.model_validate({"name": Path(drop.file).stem, **drop.document})
    return all(each.model_dump(mode="json") == written.model_dump(mode="json") for each in (row, frozen))


def started_unasked(run: RunDir, states: Sequence[str]) -> bool:
    """Whether a phase was started more often than the job entered its state."""
    training = 0  # of a job that never began
    with suppress(FileNotFoundError):
        training = run.log.read_text(encoding="utf-8", errors="replace").count(" INFO memory: ")
    starts = Counter({"training": training})
    if (trace := run.root / "starts.txt").exists():  # the stand-in worker's
        starts = Counter(line.split()[0] for line in trace.read_text().splitlines())
    return starts["training"] > states.count("training") or starts["precompute"] > states.count("precomputing")


def rejected_wrongly(home: Home, drop: Drop) -> bool:
    """A bad spec is in rejected/ once, as it was written, its error beside it; a good one is not."""
    there = [path for path in home.rejected.glob(f"{Path(drop.file).stem}*") if not path.name.endswith(".error.txt")]
    errors = list(home.rejected.glob(f"{Path(drop.file).stem}*.error.txt"))
    if drop.good:
        return bool(there or errors)
    return [path.read_bytes() for path in there] != [drop.content] or len(errors) != 1


def database_faults(path: Path) -> int:
    with sqlite3.connect(path) as db:
        rows: list[tuple[Any, ...]] = db.execute("PRAGMA integrity_check").fetchall()
        broken = db.execute("PRAGMA foreign_key_check").fetchall()
    db.close()
    return (rows != [("ok",)]) + len(broken)
