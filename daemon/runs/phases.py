"""PHASES lists the phases of a job, in the order in which they run."""

from __future__ import annotations

from typing import Literal, get_args

Phase = Literal["precompute", "training", "live"]
PHASES: tuple[Phase, ...] = get_args(Phase)
"""In their order."""

EndState = Literal["done", "failed", "cancelled"]
"""How a job ends, by the names that its states have in jobs/states.py, for what must not import the jobs."""
