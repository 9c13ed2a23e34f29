"""WatchHealth is what the daemon knows of the watched folder: whether it hears of changes, and what it leaves alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class WatchHealth:
    """Filled in by the watcher and by the intake, read by the control API."""

    mode: Literal["events", "polling"] = "polling"
    why: str = ""
    """Why it is polled."""
    last_event: float | None = None
    """When (Unix time) something was last noticed in the folder."""
    last_rescan: float | None = None
    error: str | None = None
    """Why there are no file events, where there should be."""
    folder: str | None = None
    """Why nothing can be claimed from the folder."""
    left_alone: dict[str, str] = field(default_factory=dict)
    """What is in the folder and no job, by name: why."""
