"""A playground without a daemon: jobs are folders that a test has filled, and what is asked of a daemon is noted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from prefd.daemon.health.selftest.playground import Playground
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.job import Job
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.timing import Timing
from support.homes import make_spec

LITTLE_PATIENCE = Timing(drop_interval=0.0, drop_answer=1.0)


@dataclass
class FakePlayground:
    """Stands in for a `Playground`. Each job's adapter and checkpoints are there as soon as it is submitted."""

    home: Home
    adapters: Iterator[bytes]
    """Those of the jobs, in their order."""
    stops: bool = True
    end_state: str = "queued"
    kept: Mapping[str, int] = field(default_factory=lambda: {"before": 5, "after": 7})
    """Steps of the newest checkpoint, before the stop and after it."""
    answers_drops: bool = True
    timing: Timing = LITTLE_PATIENCE
    calls: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.calls.append("start")

    def kill(self) -> None:
        self.calls.append("kill")

    def stop(self) -> bool:
        self.calls.append("stop")
        for job in self.home.runs.glob("[0-9]*"):
            self._save(int(job.name), self.kept["after"])
        return self.stops

    def submit(self, name: str, steps: int) -> int:
        with JobTable.open(self.home.database) as table:
            job = table.add(make_spec(name=name), source=name)
        run = self.run_folder(job.id)
        run.adapter.mkdir(parents=True)
        (run.adapter / "adapters.safetensors").write_bytes(next(self.adapters))
        self._save(job.id, self.kept["before"])
        return job.id

    def drop(self, name: str, text: str) -> None:
        if self.answers_drops:
            self.home.refusal(name).write_text(text)

    def read_job(self, number: int) -> Job:
        with JobTable.open(self.home.database) as table:
            return cast(Job, _Ended(table.get(number), self.end_state))

    def run_folder(self, number: int) -> RunDir:
        return RunDir(self.home.job(number))

    def wait_for_checkpoint(self, number: int) -> None:
        self.calls.append("wait")

    def wait_for_end(self, number: int) -> Job:
        return self.read_job(number)

    def _save(self, number: int, step: int) -> None:
        (self.run_folder(number).checkpoints / f"step-{step:08d}").mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True)
class _Ended:
    job: Job
    state: str

    @property
    def ended(self) -> bool:
        return self.state == "done"


def make_playground(folder: Path, *adapters: bytes, **settings: Any) -> Playground:
    """A playground in `folder` whose jobs have these adapters, which does as `settings` say."""
    home = Home(folder / "playground")
    home.create()
    return cast(Playground, FakePlayground(home, iter(adapters or (b"same",) * 3), **settings))
