"""`prefd start` in a process of its own, with real workers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.runs.run_folder import RunDir
from support.homes import invoke

PREFD = [sys.executable, "-c", "from prefd.daemon.cli import cli; cli()"]


class Daemon:
    """`prefd start` in a process, on a home under `root`; the commands that are typed beside it run in this one."""

    def __init__(self, root: Path, model: Path, pairs: Path) -> None:
        self.home = Home(root)
        self.spec: dict[str, Any] = {"model": str(model), "data": {"path": str(pairs), "validation": 0.2}}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.home.create()
        with self.home.log.open("ab") as log:
            command = [*PREFD, "--home", str(self.home.root), "start"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.until(lambda: invoke(self.home, "status").exit_code == 0)

    def ask(self, *words: str) -> None:
        """Type a command, which has to go well."""
        done = invoke(self.home, *words)
        assert done.exit_code == 0, done.output

    def drop(self, name: str, **more: Any) -> None:
        training = {"batch_size": 2, "learning_rate": 1e-3} | more.pop("training", {})
        path = self.home.jobs / f"{name}.json"
        beside = self.home.root / f"{name}.writing"
        beside.write_text(json.dumps(self.spec | {"training": training} | more))
        beside.rename(path)

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Every job by its name; empty before the first."""
        listed = invoke(self.home, "jobs", "--json")
        return {job["name"]: job for job in json.loads(listed.stdout)["jobs"]} if listed.exit_code == 0 else {}

    def until_ended(self, *names: str) -> dict[str, dict[str, Any]]:
        ended = {"done", "failed", "cancelled"}
        self.until(lambda: all(self.jobs().get(name, {}).get("state") in ended for name in names), 240)
        return self.jobs()

    def until(self, holds: Any, timeout_s: float = 120) -> None:
        end = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < end, self.home.log.read_text()[-3000:]
            time.sleep(0.1)

    def run(self, name: str) -> RunDir:
        return RunDir(self.home.job(self.jobs()[name]["id"]))

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
