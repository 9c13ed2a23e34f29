"""PairFiles is `runs/<id>/pairs/`: each pair of a job under its trained policy, as a table (parquet) with a head (JSON) beside it.

The head is written last and names the table's size, so that the two are always of one scoring. The task that has scored pairs writes
down that it does, with its process: what it leaves behind when it is killed is known for that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.machine.processes import ProcessId
from prefd.daemon.runs.pair_answers import PairsHead, PairsPhase, PairsProgress, PairsState
from prefd.daemon.runs.run_folder import RunDir

FOLDER = "pairs"


@dataclass(frozen=True)
class PairFiles:
    """PairFiles has a name for each file in the folder."""

    run: RunDir

    @property
    def folder(self) -> Path:
        """Return the folder of a job's scored pairs."""
        return self.run.root / FOLDER

    @property
    def table(self) -> Path:
        """Return the file of the table of pairs."""
        return self.folder / "pairs.parquet"

    @property
    def log(self) -> Path:
        """Return the file of the log of the worker that scored the pairs."""
        return self.folder / "worker.log"

    @property
    def _head(self) -> Path:
        return self.folder / "head.json"

    @property
    def _state(self) -> Path:
        return self.folder / "state.json"

    @property
    def _progress(self) -> Path:
        return self.folder / "progress.json"

    def read_head(self) -> PairsHead | None:
        """Read the head; None where nothing was scored, the table is not the head's, or either is another job's."""
        document: Any = read_json(self._head)
        try:
            head = PairsHead.model_validate(document)
            is_whole = self.table.stat().st_size == document["table_bytes"]
        except (ValidationError, OSError, KeyError, TypeError):
            return None
        return head if is_whole and head.job in ("", self.run.job or head.job) else None

    def write_head(self, head: PairsHead) -> None:
        """Write the head of the table that is there."""
        write_json(self._head, head.to_json() | {"table_bytes": self.table.stat().st_size})

    def forget_head(self) -> None:
        """Delete the head, before another table is put in the place of its own."""
        self._head.unlink(missing_ok=True)

    def write_state(self, state: PairsPhase, reason: str = "") -> None:
        """Write down that this process has the pairs scored, or why it could not. Raises OSError."""
        self.folder.mkdir(exist_ok=True)
        process = ProcessId.find_self()
        write_json(self._state, {"state": state, "reason": reason, "process": asdict(process)}, flush=False)

    def forget_state(self) -> None:
        """Forget what was asked for, when it is done."""
        self._state.unlink(missing_ok=True)
        self._progress.unlink(missing_ok=True)

    def write_progress(self, progress: PairsProgress) -> None:
        """Write how far the scoring is."""
        write_json(self._progress, progress.to_json(), flush=False)

    def read_state(self, job_id: int) -> PairsState:
        """Read whether the pairs of the job with this number are scored, and if not, what is in the way."""
        document = read_json(self._state)
        match document:
            case {"state": "failed", "reason": str() as reason}:
                return PairsState(job=job_id, state="failed", reason=reason)
            case {"state": ("waiting" | "scoring") as state, "reason": str() as reason, "process": dict() as process}:
                if _is_alive(process):
                    progress = self._read_progress() if state == "scoring" else None
                    return PairsState(job=job_id, state=state, reason=reason, progress=progress)
                if self.read_head() is None:
                    return PairsState(job=job_id, state="none", reason="what was to score them has ended: ask again")
        return PairsState(job=job_id, state="none" if self.read_head() is None else "done")

    def _read_progress(self) -> PairsProgress | None:
        try:
            return PairsProgress.model_validate(read_json(self._progress))
        except ValidationError:
            return None


def _is_alive(process: dict[str, Any]) -> bool:
    try:
        return ProcessId(**process).is_alive()
    except TypeError:
        return False
