"""Says which jobs cannot have several ranks, and why."""

from __future__ import annotations

from importlib import metadata
from typing import Literal

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.ranks.count import count_ranks, read_ranks, read_ranks_here
from prefd.daemon.worker.ranks.ring_place import describe_old_mlx

PAIRS_EACH = 4
"""With fewer pairs of a step for each rank, ranks wait for each other: pairs are of unlike lengths."""


def check_ranks(wanted: int | Literal["all"], settings: HandedSettings, device: str, batch_independent: bool) -> None:
    """Raise JobError where a job that wants so many ranks cannot run on this device, by these settings, with this loss."""
    if wanted != 1:
        count_ranks(wanted, settings.device, 1, settings.list_hosts())
    refuse_ranks(read_ranks(), read_ranks_here(), device, batch_independent)


def refuse_ranks(ranks: int, here: int, device: str, batch_independent: bool) -> None:
    """Raise JobError where a job of several ranks cannot run, `here` of them on a machine that computes on a "cpu" or "gpu", with this loss."""
    if ranks == 1:
        return
    if (reason := describe_old_mlx(metadata.version("mlx"))) is not None:
        raise JobError(f"ranks: {reason}; update it, or take ranks: 1")
    if device != "cpu" and here > 1:
        raise JobError(
            "ranks: this machine computes on its GPU, which one process keeps busy, and ranks share processor cores; take ranks: 1, "
            'or worker.device = "cpu" in config.toml; of [distributed] hosts each machine may have one rank on its GPU'
        )
    if not batch_independent:
        raise JobError(
            "ranks: the loss compares the pairs of a batch with each other, so they cannot be shared out; take ranks: 1"
        )


def describe_few_pairs(ranks: int, pairs_per_step: int) -> str | None:
    """Return a warning where a step has so few pairs that ranks wait for each other; None where it has enough."""
    if ranks == 1 or pairs_per_step >= PAIRS_EACH * ranks:
        return None
    return (
        f"a step of {pairs_per_step} pairs is shared by {ranks} ranks, which wait for the one that has the longest: it is worth it from "
        f"{PAIRS_EACH * ranks} pairs a step on (training.batch_size × gradient_accumulation_steps)"
    )
