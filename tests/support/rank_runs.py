"""Phases of a job in worker processes of their own, as the daemon starts them, with as many ranks as its spec has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.worker.job import RunningJob
from support.fake_worker import wait_for


@dataclass
class RankRun:
    """RankRun is a worker that runs, the first of its job's ranks."""

    job: RunningJob
    process: subprocess.Popen[str]

    @property
    def log(self) -> str:
        """What it and the other ranks have logged."""
        return self.job.run.log.read_text()

    def other_ranks(self) -> list[int]:
        """The process ids of the other ranks, once they have been started."""
        wait_for(lambda: "are starting (pids" in self.log, 60)
        found = re.findall(r"are starting \(pids ([\d, ]+)\)", self.log)
        return [int(each) for each in found[-1].split(",")]

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(120)


def start_phase(job: RunningJob, phase: str, timeout: float = 60.0) -> RankRun:
    """Starts the worker of a phase; a rank may say nothing for `timeout` seconds."""
    with job.run.log.open("ab") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-X",
                "utf8",
                "-P",
                "-m",
                "prefd.daemon.worker",
                phase,
                "--home",
                str(job.home.root),
                "--job",
                "1",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=job.run.root,
            text=True,
            start_new_session=True,
            env=os.environ | HandedSettings(rank_timeout=timeout).environment(),
        )
    return RankRun(job, process)


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(status.strip()) and not status.startswith("Z")
