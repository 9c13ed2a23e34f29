"""`notify.command`: a program of the user's that is run when a job has ended.

Ends are lines of the table's history, and `notified.json` in the home says up to which one they have been told (one of a
database that was set aside and made again is not believed); it is written when the command has ended, well or badly. So each end is told once, in order, one at a time: also an end that came
just before a crash, or was written without the daemon (`prefd cancel`). Only where the daemon itself is killed while the
command runs is the command run again for that end, with the same PREFD_EVENT_ID, by which it can tell.

A pause is no end, and the jobs of `prefd run` end in front of whoever runs them: neither is told.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import NotifyConfig
from prefd.daemon.jobs.document import job_document
from prefd.daemon.jobs.events import database_of
from prefd.daemon.jobs.states import ENDED
from prefd.daemon.jobs.table import Change, Job, JobTable, JobTableError
from prefd.daemon.machine.files import read_end, read_json, write_json
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.text.json_output import document
from prefd.daemon.text.wording import clip
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)

CHANGES = 200
MAX_REASON = 4_000
"""Characters in the environment; the whole reason is on stdin."""
SAID_BYTES = 2_000


class Notifier:
    """Of one home. The command's failure is logged, and changes nothing else."""

    def __init__(self, home: Home, config: NotifyConfig, table: JobTable, timing: Timing = USUAL) -> None:
        self.home = home
        self.config = config
        self.table = table
        self.timing = timing
        self.record = LastNotified(home)

    async def run(self) -> None:
        """Until it is cancelled; a command that runs then gets `timing.notify_stop` seconds to end."""
        if not self.config.command:
            self.record.forget()
            return
        trouble = ""
        while True:
            try:
                await self._tell(self._begin())
                trouble = ""
            except (JobTableError, OSError) as error:
                if str(error) != trouble:
                    log.warning("notify.command waits: %s", error)
                trouble = str(error)
            await asyncio.sleep(self.timing.notify_look)

    def _begin(self) -> int:
        """Where to go on: behind what was told, or behind all there is where nobody was told before."""
        newest = self.table.last_change()
        told = self.record.read()
        if told is None or told > newest:  # the first time, or another database
            self.record.write(newest)
            return newest
        return told

    async def _tell(self, told: int) -> None:
        """Run the command for each end behind `told`."""
        for change in self.table.changes(told, CHANGES):
            if change.state in ENDED and change.owner == "daemon":
                await self._tell_of(change)
                self.record.write(change.number)
            told = change.number
        if told != self.record.told:
            self.record.write(told)

    async def _tell_of(self, change: Change) -> None:
        """Run the command for one end. Cancelled meanwhile, it is waited for a little, and its end counts."""
        telling = asyncio.ensure_future(self._command(change))
        try:
            await asyncio.shield(telling)
        except asyncio.CancelledError:
            done, _ = await asyncio.wait({telling}, timeout=self.timing.notify_stop)
            if done:
                self.record.write(change.number)
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            raise

    async def _command(self, change: Change) -> None:
        job = self.table.get(change.job_id)
        began = time.monotonic()
        given = environment(self.home, job, change), self._stdin(job), self._folder(job)
        why = await run_command(self.config, *given, self.timing)
        about = {"job": job.id}
        if why:
            log.warning("notify.command for job %d (%s): %s", job.id, change.state, why, extra=about)
        else:
            took = time.monotonic() - began
            log.info("notify.command told that job %d is %s, in %.1f s", job.id, change.state, took, extra=about)

    def _stdin(self, job: Job) -> bytes:
        """What `prefd show ID --json` prints."""
        try:
            spec = self.table.spec(job.id)
        except ValueError:  # of another version of prefd
            spec = None
        shown = job_document(job, spec, self.table.history(job.id), RunDir(self.home.job(job.id)))
        return json.dumps(document(shown), indent=1).encode()

    def _folder(self, job: Job) -> Path:
        folder = self.home.job(job.id)
        return folder if folder.is_dir() else self.home.root


class LastNotified:
    """`notified.json`: the last line of history that was looked at, and the database it is of."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.path = home.root / "notified.json"
        self.told: int | None = None
        self._database = 0

    def read(self) -> int | None:
        """None where there is none, or one of a database that was set aside since."""
        if self.told is None:
            value = read_json(self.path)
            if isinstance(value, dict) and isinstance(value.get("told"), int):
                self.told, self._database = value["told"], value.get("database", 0)
        return self.told if self._database == database_of(self.home) else None

    def write(self, told: int) -> None:
        self.told, self._database = told, database_of(self.home)
        write_json(self.path, {"told": told, "database": self._database})

    def forget(self) -> None:
        """So that a command that is configured later is not told of what ended before."""
        self.path.unlink(missing_ok=True)


def environment(home: Home, job: Job, change: Change) -> dict[str, str]:
    """The daemon's own, and what ended. The state and reason are those of the end, whatever became of the job since."""
    return os.environ | {
        "PREFD_HOME": str(home.root),
        "PREFD_EVENT_ID": str(change.number),
        "PREFD_JOB_ID": str(job.id),
        "PREFD_JOB_NAME": _plain(change.name),
        "PREFD_JOB_STATE": change.state,
        "PREFD_JOB_REASON": _plain(change.reason[:MAX_REASON]),
        "PREFD_RUN_DIR": str(home.job(job.id)),
    }


def _plain(text: str) -> str:
    """What the environment can hold."""
    return text.replace("\0", "")


async def run_command(config: NotifyConfig, env: dict[str, str], stdin: bytes, folder: Path, timing: Timing) -> str:
    """Run it, without a shell, in a session of its own; why it failed, in words, or nothing.

    Files instead of pipes: it need not read, it may say much, and what it leaves running holds nobody up.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write(stdin)
        given.seek(0)
        try:
            child = await asyncio.create_subprocess_exec(
                *config.command,
                stdin=given,
                stdout=said,
                stderr=asyncio.subprocess.STDOUT,
                env=env,
                cwd=folder,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
            return f"cannot run {config.command[0]}: {getattr(error, 'strerror', None) or error}"
        try:
            code = await asyncio.wait_for(child.wait(), config.timeout_seconds)
        except TimeoutError:
            return f"ended, for it took longer than {config.timeout_seconds:g} s"
        finally:
            await _end(child, timing.notify_kill)
        if code == 0:
            return ""
        data, _ = read_end(said, SAID_BYTES)
        lines = data.decode("utf-8", "replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        return f"{f'exit code {code}' if code > 0 else f'signal {-code}'}: {clip(last, 300)}"


async def _end(child: asyncio.subprocess.Process, seconds: float) -> None:
    """Where it has not ended, nothing of it goes on: SIGTERM to its session, SIGKILL where that is not enough."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), seconds)
