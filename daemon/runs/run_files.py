"""`list_files` tells what files a run's folder holds: its checkpoints, its results, and those of earlier attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefd.daemon.machine.files import read_json
from prefd.daemon.machine.folder_sizes import measure_file, measure_folder
from prefd.daemon.runs.run_folder import ATTEMPTS, RunDir

STATE = "state.json"
OUTPUTS = ("adapter", "fused", "peft", "gguf", "modelfile")


@dataclass(frozen=True)
class RunPart:
    """RunPart is a file or folder of a run."""

    path: str
    bytes: int
    """On disk."""


@dataclass(frozen=True)
class CheckpointFolder(RunPart):
    """CheckpointFolder is a checkpoint, from which training can go on."""

    step: int
    best: bool
    """Whether it is the best by the metric that the spec watches."""


@dataclass(frozen=True)
class RunFiles:
    """RunFiles holds what a run has written; null is what is not there."""

    run: str
    """The job's folder."""
    bytes: int
    """What all of it takes on disk."""
    checkpoints: Sequence[CheckpointFolder]
    """Oldest first."""
    adapter: RunPart | None
    fused: RunPart | None
    peft: RunPart | None
    gguf: RunPart | None
    modelfile: RunPart | None
    metrics: RunPart | None
    samples: RunPart | None
    log: RunPart | None
    attempts: Sequence[int]
    """The earlier attempts of which files are kept."""


def list_files(run: RunDir) -> RunFiles:
    """List the files of a run; an empty folder, or none, has nothing."""
    return RunFiles(
        run=str(run.root),
        bytes=measure_folder(run.root),
        checkpoints=list_checkpoints(run),
        **{name: _describe_part(getattr(run, name)) for name in (*OUTPUTS, "metrics", "log")},
        samples=_describe_part(run.samples.path),
        attempts=list_attempts(run),
    )


def list_attempts(run: RunDir) -> list[int]:
    """List the earlier attempts of which files are kept, the first one first."""
    return sorted(int(folder.name) for folder in (run.root / ATTEMPTS).glob("*") if folder.name.isdecimal())


def list_checkpoints(run: RunDir) -> list[CheckpointFolder]:
    """List the whole checkpoints of a run, oldest first; which one is the best is what the newest says."""
    folders = {int(name): path for path in run.checkpoints.glob("step-*") if (name := path.name[5:]).isdecimal()}
    best = _find_best_step(folders[max(folders)]) if folders else None
    return [
        CheckpointFolder(str(path), measure_folder(path), step, step == best) for step, path in sorted(folders.items())
    ]


def _find_best_step(checkpoint: Path) -> int | None:
    """Find the step of the best evaluation in what a checkpoint keeps; None where the spec watches no metric."""
    match read_json(checkpoint / STATE):
        case {"selection": {"best": {"step": int(step)}}}:
            return step
    return None


def _describe_part(path: Path) -> RunPart | None:
    if path.is_dir():
        return RunPart(str(path), measure_folder(path))
    try:
        return RunPart(str(path), measure_file(path.stat()))
    except OSError:
        return None
