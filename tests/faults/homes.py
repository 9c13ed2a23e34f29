"""Random sequences of copy, restore, move, kill and submit over three homes, whose daemons run meanwhile or do not.

The daemons are forks of this process, which starts no thread; their workers (support/traced_worker.py) write down what they
trained and where. What a person asks for (`prefd resume` of what is held) is counted, and nothing else may repeat a job.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.home_judge import MUST_BE_ZERO, Counts, Judge, wrong
from faults.home_slots import Slot, copy_home, read_jobs, same_home
from prefd.daemon.control.client import Client, DaemonNotRunning
from prefd.daemon.control.control_error import ControlError
from prefd.daemon.home import lock
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import ENDED
from prefd.daemon.jobs.table import JobTable, JobTableError
from prefd.daemon.service.daemon import serve
from support import fake_worker, traced_worker
from support.homes import invoke
from support.paths import SUPPORT
from support.quick_timing import QUICK_TIMING
from support.running_daemon import answers

SLOTS = ("a", "b", "c")
STEPS = 20
"""How many operations a sequence has."""
CONFIG = "parallel = 2\nstop_grace_seconds = 5\n[watch]\nsettle_seconds = 0.05\nrescan_seconds = 0.2\n"


@dataclass
class Sequence:
    """Three homes in a folder, and what happens to them."""

    folder: Path
    rng: random.Random
    slots: dict[str, Slot] = field(default_factory=dict)
    backups: list[tuple[Path, set[str]]] = field(default_factory=list)
    leaving: set[int] = field(default_factory=set)
    """Daemons whose home went away."""
    repeats: Counter[str] = field(default_factory=Counter)
    """How often somebody asked that a job goes on which another home has too."""
    seen: Counter[str] = field(default_factory=Counter)
    specs: int = 0
    story: list[str] = field(default_factory=list)

    patience: float = 40.0
    pace: float = 0.0
    """How many seconds pass between two operations, at most."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.judge = Judge(self.folder, self.expect_adapter)
        self.worker = self.make_worker()
        for name in SLOTS:
            self.slots[name] = Slot(Home(self.folder / name))
            self._begin(self.slots[name])

    def make_worker(self) -> tuple[str, ...]:
        """Return the command of a worker."""
        fake_worker.make_worker(self.folder)
        script = str(SUPPORT / "traced_worker.py")
        return (sys.executable, "-I", "-S", script, str(self.folder / "catalog.json"))

    def write_spec(self, number: int) -> str:
        """Return a spec that no other is like."""
        training = {"iters": self.rng.choice([4, 8, 30]), "seed": number}
        loss = {"name": "cpo", "beta": self.rng.choice([0.05, 0.1])}
        return fake_worker.spec_text(self.folder, f"job-{number}", loss=loss, training=training)

    def expect_adapter(self, spec: dict[str, Any]) -> bytes:
        """Return the adapter of a job that nobody disturbed."""
        digest = traced_worker.begin(spec)
        for step in range(1, spec["training"]["iters"] + 1):
            digest = traced_worker.advance(digest, step)
        return digest.encode()

    def _begin(self, slot: Slot) -> None:
        slot.home.create()
        slot.home.config.write_text(CONFIG)
        slot.cancelled = set()

    # --- daemons

    def start(self, slot: Slot) -> None:
        """Start the home's daemon, once the one of a home that was moved here has ended."""
        if slot.daemon is not None or not slot.home.root.is_dir():
            return
        self._until(lambda: not lock.is_held(slot.home) or self._is_back(slot), "a lock that is not given up")
        if slot.daemon is not None:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        slot.daemon = os.fork()
        if slot.daemon == 0:
            self._serve(slot.home)
        self._until(lambda: answers(Client(slot.home)) or self._is_gone(slot), "a daemon that does not start")

    def _serve(self, home: Home) -> None:
        """Be the daemon, in a process of its own."""
        code = 1
        try:
            os.setsid()
            with (self.folder / f"{home.root.name}.log").open("ab") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            code = 0 if serve(home, self.worker, timing=QUICK_TIMING) else 3
        except BaseException as error:  # noqa: BLE001  # it must not return into the test
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _is_back(self, slot: Slot) -> bool:
        """Whether a home was moved away and back before its daemon could notice: then that one serves it still.

        One that has noticed goes on to its end, wherever its home is by now, and answers as long as its workers save their states.
        """
        with suppress(DaemonNotRunning, ControlError):
            status = Client(slot.home).status()
            if status.pid in self.leaving and status.home == str(slot.home.root) and not status.stopping:
                self.leaving.discard(status.pid)
                slot.daemon = status.pid
                return True
        return False

    def _is_gone(self, slot: Slot) -> bool:
        """Whether the slot's daemon has ended by itself, which is counted."""
        if slot.daemon is None or os.waitpid(slot.daemon, os.WNOHANG) == (0, 0):
            return slot.daemon is None
        slot.daemon = None
        self.judge.counts["daemons that ended by themselves"] += 1
        return True

    def stop(self, slot: Slot) -> None:
        if slot.daemon is None:
            return
        began = time.monotonic()
        done = invoke(slot.home, "stop")
        self.judge.counts["stops that failed"] += done.exit_code != 0
        after = time.monotonic() - began
        self.story.append(f"stopped {slot.home.root.name} (pid {slot.daemon}) in {after:.1f} s: {done.output.strip()}")
        if done.exit_code != 0:
            log = self.folder / f"{slot.home.root.name}.log"
            self.story += [f"its log: {line}" for line in log.read_text().splitlines()[-10:]]
            os.kill(slot.daemon, signal.SIGKILL)
        os.waitpid(slot.daemon, 0)
        slot.daemon = None

    def kill(self, slot: Slot) -> None:
        if slot.daemon is not None:
            os.kill(slot.daemon, signal.SIGKILL)
            os.waitpid(slot.daemon, 0)
            slot.daemon = None

    def _leave(self, slot: Slot) -> None:
        """The slot's home goes away: its daemon, if any, has to notice."""
        if slot.daemon is not None:
            self.leaving.add(slot.daemon)
            self.seen["daemons whose home went away"] += 1
            slot.daemon = None

    # --- what people do

    def submit(self, slot: Slot) -> None:
        if not slot.home.jobs.is_dir():
            return
        self.specs += 1
        text = self.write_spec(self.specs)
        beside = self.folder / "spec.beside"
        beside.write_text(text)
        beside.rename(slot.home.jobs / f"{self.specs}.yaml")
        self.story.append(f"submitted {self.specs}.yaml")

    def command(self, slot: Slot) -> None:
        """Cancel a job, or let what is held go on."""
        jobs = read_jobs(slot.home)
        unended = [job for job in jobs if job.state not in ENDED]
        if not unended:
            return
        if self.rng.random() < 0.4:
            job = self.rng.choice(unended)
            slot.cancelled.add(job.name)
            invoke(slot.home, "cancel", job.id)
        else:
            self.resume(slot)

    def resume(self, slot: Slot) -> None:
        done = invoke(slot.home, "resume", "--all", "--json")
        for job in json.loads(done.stdout)["jobs"] if done.exit_code == 0 else ():
            self.repeats[job["name"]] += 1
            self.story.append(f"let {job['name']} go on in {slot.home.root.name}")

    def copy(self, slot: Slot) -> None:
        other = self.slots[self.rng.choice([name for name in SLOTS if self.slots[name] is not slot])]
        if slot.home.root.is_dir():
            self.remove(other)
            left_out = self._choose_left_out()
            self.story.append(f"copied to {other.home.root.name} without {left_out}")
            copy_home(slot.home.root, other.home.root, left_out)
            other.cancelled = set(slot.cancelled)

    def back_up(self, slot: Slot) -> None:
        if slot.home.root.is_dir():
            target = self.folder / f"backup-{len(self.backups)}"
            copy_home(slot.home.root, target, self._choose_left_out())
            self.backups.append((target, set(slot.cancelled)))

    def restore(self, slot: Slot) -> None:
        """Put a backup in the place of a home, or its database alone, with its -wal or without."""
        if not self.backups:
            self.back_up(slot)
            return
        backup, cancelled = self.rng.choice(self.backups)
        alone = self.rng.random() < 0.4 and (backup / "prefd.sqlite3").exists() and slot.home.root.is_dir()
        if not alone:
            self.remove(slot)
            copy_home(backup, slot.home.root, self._choose_left_out())
            slot.cancelled = set(cancelled)
            return
        if same_home(backup, slot.home.root):
            self.stop(slot)
            for path in slot.home.root.glob("prefd.sqlite3*"):
                path.unlink()
            for path in backup.glob("prefd.sqlite3*"):
                shutil.copy2(path, slot.home.root / path.name)
            slot.cancelled |= cancelled

    def move(self, slot: Slot) -> None:
        """Rename a home to another slot; what is there is set aside, and lives on nowhere."""
        other = self.slots[self.rng.choice([name for name in SLOTS if self.slots[name] is not slot])]
        if not slot.home.root.is_dir():
            return
        self.remove(other)
        self._leave(slot)
        self.story.append(f"moved to {other.home.root.name}")
        slot.home.root.rename(other.home.root)
        other.cancelled, slot.cancelled = slot.cancelled, set()

    def remove(self, slot: Slot) -> None:
        """`rm -rf`, under the daemon as it may be, or after a stop."""
        if self.rng.random() < 0.5:
            self.stop(slot)
        self._leave(slot)
        self.judge.audit(slot)
        while slot.home.root.exists():
            shutil.rmtree(slot.home.root, ignore_errors=True)

    def begin_anew(self, slot: Slot) -> None:
        """Remove the database and runs/, or all of the home."""
        if not slot.home.root.is_dir() or self.rng.random() < 0.3:
            self.remove(slot)
            self._begin(slot)
            return
        self.stop(slot)
        for path in slot.home.root.glob("prefd.sqlite3*"):
            path.unlink()
        shutil.rmtree(slot.home.runs, ignore_errors=True)

    def bring_runs(self, slot: Slot) -> None:
        """Copy some folders of another home's runs/ into this one's, where the number is free."""
        other = self.slots[self.rng.choice([name for name in SLOTS if self.slots[name] is not slot])]
        for folder in [*other.home.runs.glob("[0-9]*")][:3]:
            target = slot.home.runs / folder.name
            if slot.home.runs.is_dir() and not target.exists():
                self.story.append(f"brought {folder}")
                copy_home(folder, target, ())
                slot.cancelled |= other.cancelled

    def wait(self, slot: Slot) -> None:
        time.sleep(self.rng.uniform(0.02, 0.4))

    def _choose_left_out(self) -> tuple[str, ...]:
        """What a backup or a copy leaves out."""
        return self.rng.choice([(), (), ("*-wal", "*-shm"), ("run",), ("run", "*-wal", "*-shm")])

    # --- the sequence

    def run(self) -> None:
        acts: list[tuple[Callable[[Slot], None], int]] = [
            *((self.submit, 6), (self.start, 6), (self.kill, 3), (self.stop, 2), (self.wait, 4), (self.copy, 3)),
            *((self.back_up, 2), (self.restore, 3), (self.move, 3), (self.command, 3), (self.bring_runs, 1)),
            (self.begin_anew, 1),
        ]
        for slot in self.slots.values():
            self.submit(slot)
        for _ in range(STEPS):
            (act,) = self.rng.choices([act for act, _ in acts], [weight for _, weight in acts])
            slot = self.slots[self.rng.choice(SLOTS)]
            self.seen[act.__name__.replace("_", " ")] += 1
            self.story.append(f"{act.__name__} {slot.home.root.name}")
            act(slot)
            time.sleep(self.rng.uniform(0, self.pace))
            for each in self.slots.values():
                self._is_gone(each)
            self.judge.look_for_touched(self.slots.values())

    def finish(self) -> Counts:
        """Let every daemon come to its end, then what is held go on, and keep the books."""
        for slot in self.slots.values():
            self.start(slot)
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline and any(self._has_work(slot) for slot in self.slots.values()):
            for slot in self.slots.values():
                if any(job.state == "paused" for job in read_jobs(slot.home)):
                    self.resume(slot)
            time.sleep(0.05)
        for slot in self.slots.values():
            self.judge.counts["did not end"] += self._has_work(slot)
            self._is_gone(slot)
            self.stop(slot)
        for pid in self.leaving:
            self._reap(pid)
        for slot in self.slots.values():
            self.judge.audit(slot)
        self.judge.audit_trace(self.repeats)
        return dict(self.judge.counts)

    def _has_work(self, slot: Slot) -> bool:
        waiting = [*slot.home.jobs.glob("*.yaml"), *slot.home.accepted.glob(".*.claim")]
        with suppress(JobTableError, OSError), JobTable.open_readonly(slot.home.database) as table:
            waiting += [path for path in slot.home.accepted.glob("*.yaml") if path.name not in table.sources()]
        return bool(waiting) or any(job.state not in ENDED for job in read_jobs(slot.home))

    def _reap(self, pid: int) -> None:
        deadline = time.monotonic() + 15
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                self.judge.counts["daemons that outlived their home"] += 1
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                return
            time.sleep(0.05)

    def _until(self, true: Callable[[], bool], wrong: str) -> None:
        deadline = time.monotonic() + self.patience
        while not true():
            if time.monotonic() > deadline:
                self.judge.counts[wrong] += 1
                return
            time.sleep(0.01)

    def close(self) -> None:
        """Leave no process behind, whatever happened."""
        for slot in self.slots.values():
            self.kill(slot)
        for pid in self.leaving:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def run(folder: Path, seed: int, kind: type[Sequence] = Sequence) -> dict[str, Any]:
    """One sequence: `counts`, all of which but the jobs have to be 0, `seen`, what was done, and its `story`, if anything is wrong."""
    sequence = kind(folder, random.Random(seed))
    try:
        sequence.run()
        findings = sequence.finish()
    finally:
        sequence.close()
    counts = dict.fromkeys(MUST_BE_ZERO, 0) | findings
    return {
        "counts": counts,
        "seen": {"specs": sequence.specs, **sequence.seen, "asked again": sequence.repeats.total()},
        "story": sequence.story if wrong(counts) else [],
    }
