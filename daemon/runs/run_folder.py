"""RunDir reads and writes one job's folder, `runs/<id>/`, into which its worker writes and from which all others read.

The worker and the daemon share nothing else, so each can die and the other still knows where things stand.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.runs.batch_record import BatchRecord
from prefd.daemon.runs.live_folder import LiveFolder
from prefd.daemon.runs.phases import Phase
from prefd.daemon.text.times import format_clock
from prefd.daemon.text.wording import pluralize
from prefd.plugins.metrics import EVAL

if TYPE_CHECKING:  # they bring pydantic, and a shell that completes a job's number waits for none
    from prefd.daemon.runs.phase_outcomes import LiveOutcome, Outcome, PrecomputeOutcome, TrainingOutcome
    from prefd.daemon.runs.samples import SamplesLog

SPEC, RECORD, LOG, WORKER_LOCK, ATTEMPTS = "spec.json", "job.json", "worker.log", ".worker.lock", "attempts"
PROGRESS = "progress.json"
OUTPUTS = "outputs"
"""The unit of a phase's progress that has trained, and writes what the spec's `output:` asks for."""
CARRIED_OVER = (SPEC, RECORD, LOG, WORKER_LOCK, ATTEMPTS)
"""The files that a run that begins from nothing keeps of the earlier one: the log goes on."""

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """Progress says where a running phase stands: `done` of `total` `unit`s, at `rate` a second, `eta_s` seconds to go.

    A client's model has a total of 0: nobody knows how many steps the client will take.
    """

    phase: Phase
    done: int
    total: int
    unit: str
    rate: float | None = None
    eta_s: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    updated_at: float = 0.0
    note: str = ""
    """What else there is to say, in words."""

    def describe_count(self) -> str:
        """Describe how much is done: `3/8 steps`, or `3 steps` where there is no total."""
        return (
            f"{self.done}/{self.total} {self.unit}" if self.total else pluralize(self.done, self.unit.removesuffix("s"))
        )


def _build(kind: type[T], value: Any) -> T | None:
    try:
        return kind(**value)
    except TypeError:
        return None


@dataclass(frozen=True)
class RunDir:
    """RunDir is the folder of one job, with a name for each thing in it."""

    root: Path
    job: str = ""
    """The job's ULID: outcomes of another job are not read. Empty where any job's are, or the job has none."""

    @property
    def spec(self) -> Path:
        """Return the file of the job's frozen spec, with the stock that was taken when it was claimed."""
        return self.root / SPEC

    @property
    def log(self) -> Path:
        """Return the file of the worker's log."""
        return self.root / LOG

    @property
    def worker_lock(self) -> Path:
        """Return the file whose lock the job's one worker holds."""
        return self.root / WORKER_LOCK

    @property
    def metrics(self) -> Path:
        """Return the file of training's metrics, a JSON object a line."""
        return self.root / "metrics.jsonl"

    @property
    def samples(self) -> SamplesLog:
        """Return the file of what the policy answered while it trained."""
        from prefd.daemon.runs.samples import SamplesLog

        return SamplesLog(self.root / "samples.jsonl", self.job)

    @property
    def batches(self) -> BatchRecord:
        """Return the record of how much of the job runs at once."""
        return BatchRecord(self.root)

    @property
    def checkpoints(self) -> Path:
        """Return the folder of the checkpoints."""
        return self.root / "checkpoints"

    @property
    def rescued_step(self) -> Path:
        """Return the file with the state after the last step of a worker that died without a checkpoint of it."""
        return self.checkpoints / "rescued_step.safetensors"

    @property
    def adapter(self) -> Path:
        """Return the folder of the trained adapter, in mlx-lm's format."""
        return self.root / "adapter"

    @property
    def fused(self) -> Path:
        """Return the folder of the fused model."""
        return self.root / "fused"

    @property
    def peft(self) -> Path:
        """Return the folder of the adapter in PEFT's format."""
        return self.root / "peft"

    @property
    def gguf(self) -> Path:
        """Return the folder of what `prefd gguf` has written."""
        return self.root / "gguf"

    @property
    def modelfile(self) -> Path:
        """Return the file that `prefd modelfile` writes."""
        return self.root / "Modelfile"

    @property
    def live(self) -> LiveFolder:
        """Return the folder in which a client's requests and their results are."""
        return LiveFolder(self.root / "live")

    def read_frozen(self) -> dict[str, Any] | None:
        """Return the document in spec.json, with the spec under `spec`; None where it cannot be read.

        An earlier version's document, which was the spec alone, is returned in the same form.
        """
        document = read_json(self.spec)
        if isinstance(document, dict) and {"model", "data"} <= document.keys():
            document = {"spec": document}
        return document if isinstance(document, dict) and isinstance(document.get("spec"), dict) else None

    def set_aside(self, attempt: int) -> None:
        """Move the files of attempts up to `attempt` to `attempts/<attempt>/`. Called again after a crash, it goes on."""
        paths = [path for path in self.root.iterdir() if path.name not in CARRIED_OVER]
        folder = self.root / ATTEMPTS / str(attempt)
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            path.rename(folder / path.name)

    def progress(self) -> Progress | None:
        """Read the progress of the running phase; None where there is none that this version can read."""
        progress = _build(Progress, read_json(self.root / PROGRESS))
        if progress is None or progress.phase != "live":
            return progress
        return replace(
            progress, note=", ".join(filter(None, [describe_references(progress), self._describe_silence()]))
        )

    def _describe_silence(self) -> str:
        since = self.live.read_silence()
        return "" if since is None else f"no client since {format_clock(since)}"

    def is_writing_outputs(self) -> bool:
        """Say whether the phase that runs, or ran last, had trained to its end and was writing its outputs."""
        progress = self.progress()
        return progress is not None and progress.unit == OUTPUTS

    def write_progress(self, progress: Progress) -> None:
        """Write the progress of the running phase, with the time."""
        write_json(self.root / PROGRESS, asdict(progress) | {"updated_at": time.time()}, flush=False)

    def forget_progress(self) -> None:
        """Delete the progress before a phase starts, so that an old phase's is never shown as the new one's."""
        (self.root / PROGRESS).unlink(missing_ok=True)

    def find_saved_step(self) -> int:
        """Find the step of the newest checkpoint, 0 without one."""
        names = (path.name.removeprefix("step-") for path in self.checkpoints.glob("step-*"))
        return max((int(name) for name in names if name.isdecimal()), default=0)

    def mark(self, phase: Phase) -> str:
        """Describe how far the phase has got for good: its newest checkpoint, and the total that its worker began with."""
        if phase == "live":
            return f"{phase}: {self.live.read_applied()} requests applied"
        newest = max((path.name for path in self.checkpoints.glob("step-*")), default="nothing")
        progress = self.progress()
        return f"{phase}: {newest} saved, {progress.total if progress else 'unknown'} to do"

    @overload
    def outcome(self, phase: Literal["precompute"]) -> PrecomputeOutcome | None: ...

    @overload
    def outcome(self, phase: Literal["training"]) -> TrainingOutcome | None: ...

    @overload
    def outcome(self, phase: Literal["live"]) -> LiveOutcome | None: ...

    @overload
    def outcome(self, phase: Phase) -> Outcome | None: ...

    def outcome(self, phase: Phase) -> Outcome | None:
        """Read the outcome of the phase; None where there is none that this version can read."""
        from prefd.daemon.runs.phase_outcomes import read_outcome

        document = read_json(self.root / f"{phase}.json")
        owner = document.get("job") if isinstance(document, dict) else None
        return None if self.job and owner not in (None, self.job) else read_outcome(phase, document)

    def write_outcome(self, phase: Phase, outcome: Outcome) -> None:
        """Write the outcome of the phase."""
        owner = {"job": self.job} if self.job else {}
        write_json(self.root / f"{phase}.json", outcome.to_json() | owner)

    def forget_outcome(self, phase: Phase) -> None:
        """Delete the outcome before a phase starts, so that an old outcome is never read as the new one."""
        (self.root / f"{phase}.json").unlink(missing_ok=True)

    def read_metrics(self) -> Iterator[dict[str, Any]]:
        """Yield each complete line of metrics.jsonl; a line cut by a crash is passed over. One line at a time is in memory."""
        with suppress(FileNotFoundError), self.metrics.open("rb") as file:
            yield from filter(None, map(parse_row, file))


def describe_references(progress: Progress) -> str:
    """Describe what a client asked of references: what was in the cache, and what was scored; empty where it asked nothing."""
    hits, scored = (round(progress.metrics.get(name, 0)) for name in ("ref_hits", "ref_scored"))
    return f"references: {hits} from the cache, {scored} scored" if hits or scored else ""


def is_evaluation(row: Mapping[str, Any]) -> bool:
    """Return whether a line of metrics.jsonl is of the held-out pairs."""
    return any(key.startswith(EVAL) for key in row)


def parse_row(line: str | bytes) -> dict[str, Any] | None:
    """Parse a line of metrics.jsonl; None for one that a crash has cut. What is no number, training has not written."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    return {key: each for key, each in value.items() if each is None or type(each) in (int, float)}
