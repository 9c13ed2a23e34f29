"""WatchHealth holds the state of the watched folder: whether file events work, and which files are left alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class WatchHealth:
    """WatchHealth is the state of the watched folder, which the watcher and the intake fill in and the control API reads."""

    mode: Literal["events", "polling"] = "polling"
    why: str = ""
    """Why the folder is polled."""
    last_event: float | None = None
    """When (Unix time) something was last noticed in the folder."""
    last_rescan: float | None = None
    """When (Unix time) the folder was last listed."""
    error: str | None = None
    """Why there are no file events, where there should be."""
    folder: str | None = None
    """Why nothing can be claimed from the folder."""
    left_alone: dict[str, str] = field(default_factory=dict)
    """The reasons why files in the folder are no jobs, by name."""
