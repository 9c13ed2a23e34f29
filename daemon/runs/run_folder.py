"""One job's folder, `runs/<id>/`: what the worker writes there and everyone else reads.

The worker and the daemon share nothing else, so each can die and the other still knows where things stand.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.runs.phases import Phase
from prefd.plugins.metrics import EVAL

if TYPE_CHECKING:  # they bring pydantic, and a shell that completes a job's number waits for none
    from prefd.daemon.runs.phase_outcomes import Outcome, PrecomputeOutcome, TrainingOutcome

SPEC, RECORD, LOG, WORKER_LOCK, ATTEMPTS = "spec.json", "job.json", "worker.log", ".worker.lock", "attempts"
PROGRESS = "progress.json"
CARRIED_OVER = (SPEC, RECORD, LOG, WORKER_LOCK, ATTEMPTS)
"""What a run begun from nothing keeps of the earlier one: the log goes on."""

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """Where a running phase stands: `done` of `total` `unit`s, at `rate` a second, `eta_s` seconds to go."""

    phase: Phase
    done: int
    total: int
    unit: str
    rate: float | None = None
    eta_s: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    updated_at: float = 0.0


def _as(kind: type[T], value: Any) -> T | None:
    try:
        return kind(**value)
    except TypeError:
        return None


@dataclass(frozen=True)
class RunDir:
    root: Path

    @property
    def spec(self) -> Path:
        return self.root / SPEC

    @property
    def log(self) -> Path:
        return self.root / LOG

    @property
    def worker_lock(self) -> Path:
        """The file whose lock the job's one worker holds."""
        return self.root / WORKER_LOCK

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.root / "adapter"

    @property
    def fused(self) -> Path:
        return self.root / "fused"

    @property
    def peft(self) -> Path:
        return self.root / "peft"

    def read_frozen(self) -> dict[str, Any] | None:
        """What spec.json holds, with the spec under `spec`, in an earlier version's too; None where it cannot be read."""
        found = read_json(self.spec)
        if isinstance(found, dict) and {"model", "data"} <= found.keys():
            found = {"spec": found}
        return found if isinstance(found, dict) and isinstance(found.get("spec"), dict) else None

    def set_aside(self, attempt: int) -> None:
        """Move what attempts up to `attempt` left to `attempts/<attempt>/`. Done again after a crash, it moves the rest."""
        left = [path for path in self.root.iterdir() if path.name not in CARRIED_OVER]
        folder = self.root / ATTEMPTS / str(attempt)
        folder.mkdir(parents=True, exist_ok=True)
        for path in left:
            path.rename(folder / path.name)

    def progress(self) -> Progress | None:
        """None where there is none, or one that this version cannot read."""
        return _as(Progress, read_json(self.root / PROGRESS))

    def write_progress(self, progress: Progress) -> None:
        write_json(self.root / PROGRESS, asdict(progress) | {"updated_at": time.time()}, flush=False)

    def forget_progress(self) -> None:
        """Called before a phase starts, so that how far an old one came is never shown as the new one's."""
        (self.root / PROGRESS).unlink(missing_ok=True)

    def mark(self, phase: Phase) -> str:
        """How far the phase has got for good: what was saved, and what was left to do when its worker began."""
        newest = max((path.name for path in self.checkpoints.glob("step-*")), default="nothing")
        progress = self.progress()
        return f"{phase}: {newest} saved, {progress.total if progress else 'unknown'} to do"

    @overload
    def outcome(self, phase: Literal["precompute"]) -> PrecomputeOutcome | None: ...

    @overload
    def outcome(self, phase: Literal["training"]) -> TrainingOutcome | None: ...

    @overload
    def outcome(self, phase: Phase) -> Outcome | None: ...

    def outcome(self, phase: Phase) -> Outcome | None:
        """None where there is none, or one that this version cannot read."""
        from prefd.daemon.runs.phase_outcomes import read_outcome

        return read_outcome(phase, read_json(self.root / f"{phase}.json"))

    def write_outcome(self, phase: Phase, outcome: Outcome) -> None:
        write_json(self.root / f"{phase}.json", outcome.to_json())

    def forget_outcome(self, phase: Phase) -> None:
        """Called before a phase starts, so that an old outcome is never read as the new one."""
        (self.root / f"{phase}.json").unlink(missing_ok=True)

    def read_metrics(self) -> Iterator[dict[str, Any]]:
        """Each whole line of metrics.jsonl; a line cut by a crash is passed over."""
        try:
            text = self.metrics.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        yield from filter(None, map(parse_row, text.splitlines()))


def is_evaluation(row: Mapping[str, Any]) -> bool:
    """Whether a line of metrics.jsonl is of the held-out pairs."""
    return any(key.startswith(EVAL) for key in row)


def parse_row(line: str | bytes) -> dict[str, Any] | None:
    """A line of metrics.jsonl; None for one that a crash has cut."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
