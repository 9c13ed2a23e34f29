"""Notifier runs `notify.command`, a program of the user's, when a job has ended, and shows it on the desktop where that is asked for.

Ends are lines of the table's history, and `notified.json` in the home holds the last line for which the command was run (one
of a database that was set aside and made again does not count); it is written when the command has ended, well or badly. So
the command is run once for each end, in order, one at a time: also for an end that came just before a crash, or was written
without the daemon (`prefd cancel`). Only where the daemon itself is killed while the command runs is the command run again
for that end, with the same PREFD_EVENT_ID, by which it can tell.

A pause is no end, and the user of `prefd run` watches its job: the command is run for neither.
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
from prefd.daemon.jobs.details import JobDetails
from prefd.daemon.jobs.events import identify_database
from prefd.daemon.jobs.states import ENDED
from prefd.daemon.jobs.table import Change, Job, JobTable, JobTableError
from prefd.daemon.machine.files import read_end, read_json, write_json
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.service.desktop_note import build_note
from prefd.daemon.text.json_output import add_schema
from prefd.daemon.text.wording import clip
from prefd.daemon.timing import USUAL, Timing

log = logging.getLogger(__name__)

CHANGES = 200
MAX_REASON = 4_000
"""Characters in the environment; the whole reason is on stdin."""
OUTPUT_BYTES = 2_000


class Notifier:
    """Runs the command for the jobs of one home. A failure of the command is logged, and changes nothing else."""

    def __init__(self, home: Home, config: NotifyConfig, table: JobTable, timing: Timing = USUAL) -> None:
        self.home = home
        self.config = config
        self.table = table
        self.timing = timing
        self.record = LastNotified(home)

    async def run(self) -> None:
        """Run until cancelled; a command that runs then gets `timing.notify_stop` seconds to end."""
        if not self.config.command and not self.config.desktop:
            self.record.forget()
            return
        trouble = ""
        while True:
            try:
                await self._notify_after(self._find_start())
                trouble = ""
            except (JobTableError, OSError) as error:
                if str(error) != trouble:
                    log.warning("notify.command waits: %s", error)
                trouble = str(error)
            await asyncio.sleep(self.timing.notify_look)

    def _find_start(self) -> int:
        """Return the line of history behind which to go on: the last notified, or the newest where there is none."""
        newest = self.table.last_change()
        line = self.record.read()
        if line is None or line > newest:  # the first time, or another database
            self.record.write(newest)
            return newest
        return line

    async def _notify_after(self, line: int) -> None:
        """Run the command for each end behind `line` of history."""
        for change in self.table.changes(line, CHANGES):
            if change.state in ENDED and change.owner == "daemon":
                await self._notify_of(change)
                self.record.write(change.number)
            line = change.number
        if line != self.record.line:
            self.record.write(line)

    async def _notify_of(self, change: Change) -> None:
        """Run the command for one end. Cancelled meanwhile, this waits a little for the command's end, which counts."""
        telling = asyncio.ensure_future(self._run_for(change))
        try:
            await asyncio.shield(telling)
        except asyncio.CancelledError:
            ended, _ = await asyncio.wait({telling}, timeout=self.timing.notify_stop)
            if ended:
                self.record.write(change.number)
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            raise

    async def _run_for(self, change: Change) -> None:
        job = self.table.get(change.job_id)
        commands = (
            {"notify.desktop": build_note(change.name, change.state, change.reason)} if self.config.desktop else {}
        )
        commands |= {"notify.command": self.config.command} if self.config.command else {}
        for setting, command in commands.items():
            began = time.monotonic()
            env = environment(self.home, job, change)
            config = self.config.model_copy(update={"command": command})
            problem = await run_command(config, env, self._make_stdin(job), self._choose_folder(job), self.timing)
            extra = {"job": job.id}
            if problem:
                log.warning("%s for job %d (%s): %s", setting, job.id, change.state, problem, extra=extra)
            else:
                seconds = time.monotonic() - began
                log.info("%s told that job %d is %s, in %.1f s", setting, job.id, change.state, seconds, extra=extra)

    def _make_stdin(self, job: Job) -> bytes:
        """Return what `prefd show ID --json` prints."""
        details = JobDetails.read(self.table, job.id, RunDir(self.home.job(job.id)))
        return json.dumps(add_schema(details.to_json()), indent=1).encode()

    def _choose_folder(self, job: Job) -> Path:
        folder = self.home.job(job.id)
        return folder if folder.is_dir() else self.home.root


class LastNotified:
    """LastNotified is the file `notified.json`: the last line of history that was looked at, and the database it is of."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.path = home.root / "notified.json"
        self.line: int | None = None
        self._database = 0

    def read(self) -> int | None:
        """Return the line; None where there is none, or one of a database that was set aside since."""
        if self.line is None:
            value = read_json(self.path)
            if isinstance(value, dict) and isinstance(value.get("told"), int):
                self.line, self._database = value["told"], value.get("database", 0)
        return self.line if self._database == identify_database(self.home) else None

    def write(self, line: int) -> None:
        """Write the line down, with the database there is now. Raises OSError."""
        self.line, self._database = line, identify_database(self.home)
        write_json(self.path, {"told": line, "database": self._database})

    def forget(self) -> None:
        """Delete the file, so that a command that is configured later is not run for earlier ends."""
        self.path.unlink(missing_ok=True)


def environment(home: Home, job: Job, change: Change) -> dict[str, str]:
    """Return the command's environment: the daemon's own, and the job's end, even if the job was retried since."""
    return os.environ | {
        "PREFD_HOME": str(home.root),
        "PREFD_EVENT_ID": str(change.number),
        "PREFD_JOB_ID": str(job.id),
        "PREFD_JOB_NAME": _remove_nuls(change.name),
        "PREFD_JOB_STATE": change.state,
        "PREFD_JOB_REASON": _remove_nuls(change.reason[:MAX_REASON]),
        "PREFD_RUN_DIR": str(home.job(job.id)),
    }


def _remove_nuls(text: str) -> str:
    """Return `text` as an environment can hold it."""
    return text.replace("\0", "")


async def run_command(config: NotifyConfig, env: dict[str, str], stdin: bytes, folder: Path, timing: Timing) -> str:
    """Run the command, without a shell, in a session of its own. Returns why it failed, in words, or "".

    Its input and output are files instead of pipes: it need not read, it may print much, and processes that it leaves
    running hold nothing up.
    """
    with tempfile.TemporaryFile() as stdin_file, tempfile.TemporaryFile() as output:
        stdin_file.write(stdin)
        stdin_file.seek(0)
        try:
            child = await asyncio.create_subprocess_exec(
                *config.command,
                stdin=stdin_file,
                stdout=output,
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
            await _end_child(child, timing.notify_kill)
        if code == 0:
            return ""
        data, _ = read_end(output, OUTPUT_BYTES)
        lines = data.decode("utf-8", "replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        return f"{f'exit code {code}' if code > 0 else f'signal {-code}'}: {clip(last, 300)}"


async def _end_child(child: asyncio.subprocess.Process, seconds: float) -> None:
    """End a command that still runs, with its session: SIGTERM, then SIGKILL where it has not ended in `seconds`."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), seconds)
