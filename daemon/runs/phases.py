"""PHASES lists the phases of a job, in the order in which they run."""

from __future__ import annotations

from typing import Literal, get_args

Phase = Literal["precompute", "training", "live"]
PHASES: tuple[Phase, ...] = get_args(Phase)
"""In their order."""
