"""`measure_run` measures what a job's folder takes on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prefd.daemon.machine.folder_sizes import measure_folder
from prefd.daemon.runs.run_folder import ATTEMPTS, RunDir

PARTS = {"checkpoints": ("checkpoints", "live/weights"), "fused": ("fused", "gguf")}
"""The folders of a run that can go by themselves: what is left can be read, and used, without them, and they can be written again."""


@dataclass(frozen=True)
class RunSize:
    """RunSize says what a job's folder takes on disk, in bytes, those of earlier attempts included."""

    bytes: int = 0
    checkpoints: int = 0
    fused: int = 0


def measure_run(run: RunDir) -> RunSize:
    """Measure a job's folder; what is gone takes nothing."""
    sizes = {part: sum(map(measure_folder, list_parts(run, part))) for part in PARTS}
    return RunSize(measure_folder(run.root), **sizes)


def list_parts(run: RunDir, part: str) -> list[Path]:
    """Return the folders of a `part` in a job's folder, and in those of its earlier attempts."""
    attempts = run.root / ATTEMPTS
    earlier = sorted(attempts.iterdir()) if attempts.is_dir() else []
    folders = [folder / name for folder in (run.root, *earlier) for name in PARTS[part]]
    return [folder for folder in folders if folder.is_dir()]
