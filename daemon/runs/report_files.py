"""ReportFiles is what a reporter leaves in `runs/<id>/reports/`: how far it is, its log, and a folder of its own.

The state says which rows are with the reporter, so that a job that goes on logs none of them twice. `prefd retry --fresh` sets
the folder aside with all else, so that the next attempt is a run of its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.runs.phases import EndState
from prefd.daemon.runs.run_files import list_attempts
from prefd.daemon.runs.run_folder import RunDir

FOLDER = "reports"
ReportPhase = Literal["open", "left open"] | EndState


@dataclass(frozen=True)
class ReportState:
    """ReportState says how far the report of a job to one tool is."""

    to: str
    """The reporter's name."""
    job: str = ""
    """The job's ULID."""
    place: str = ""
    """Where to look for it, a command or an address."""
    train: int = 0
    """The last step of training that is there."""
    held_out: int = 0
    """The step of the last evaluation that is there."""
    rows: int = 0
    """Rows that were logged."""
    state: ReportPhase = "open"
    """The job's end as the reporter was told of it; `open` while it follows the job, `left open` where the job may go on."""
    error: str = ""
    """What went wrong, in words; empty where nothing did."""

    def describe(self) -> str:
        """Describe in one line how far the report is, and where it is found."""
        evaluated = f", evaluated to step {self.held_out}" if self.held_out else ""
        return f"{self.to}: to step {self.train}{evaluated}, {self.state}" + (f"; {self.place}" if self.place else "")


@dataclass(frozen=True)
class ReportFiles:
    """ReportFiles has a name for each file of one reporter."""

    run: RunDir
    to: str

    @property
    def root(self) -> Path:
        """Return the folder of all of the job's reports."""
        return self.run.root / FOLDER

    @property
    def folder(self) -> Path:
        """Return the reporter's own folder."""
        return self.root / self.to

    @property
    def log(self) -> Path:
        """Return the log of the reporter's process."""
        return self.root / f"{self.to}.log"

    @property
    def lock(self) -> Path:
        """Return the file whose lock the one process holds that reports."""
        return self.root / f".{self.to}.lock"

    @property
    def _state(self) -> Path:
        return self.root / f"{self.to}.json"

    def read(self) -> ReportState | None:
        """Read how far the report is; None where there is none, or it is another job's."""
        state = _build(read_json(self._state))
        return state if state is not None and state.job in ("", self.run.job or state.job) else None

    def write(self, state: ReportState) -> None:
        """Write how far the report is. Raises OSError."""
        self.root.mkdir(exist_ok=True)
        write_json(self._state, asdict(state), flush=False)

    def make_run_id(self) -> str:
        """Make the run's id of the job's own: the same when it goes on, another one when it begins anew."""
        earlier = max(list_attempts(self.run), default=0)
        name = self.run.job.lower() or f"job{self.run.root.name}"
        return f"{name}-{earlier + 1}" if earlier else name


def list_reports(run: RunDir) -> list[ReportState]:
    """List the job's reports by the names of their reporters."""
    states = (ReportFiles(run, path.stem).read() for path in sorted((run.root / FOLDER).glob("[a-z]*.json")))
    return [state for state in states if state is not None]


def _build(document: Any) -> ReportState | None:
    try:
        return ReportState(**document)
    except TypeError:  # none, or another version's
        return None
