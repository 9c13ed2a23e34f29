"""Scores each pair by itself with a trained policy, in the batches in which its evaluation ran, so that the means are the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.training.metrics import sum_pair_metrics
from prefd.daemon.worker.training.trainer import Trainer
from prefd.plugins.types import LossInput, LossOutput

Columns = Mapping[str, npt.NDArray[np.float64]]
"""Name → a number for each pair."""


def score_each_pair(trainer: Trainer, examples: Sequence[Example], advance: Callable[[int], None]) -> Columns:
    """Score `examples`, and return the columns of `compute_columns` in their order.

    `advance`: called with the number of pairs of each batch that is done. Raises `JobError` for a completion that the
    reference cache does not hold any more.
    """
    trainer.model.eval()
    places = {id(example): place for place, example in enumerate(examples)}
    columns: dict[str, npt.NDArray[np.float64]] = {}
    for batch in trainer.batching.split(examples):
        x, out = trainer.compare(batch)
        sum_pair_metrics(x, out)  # refuses what is not a number for each pair, as training does
        rows = [places[id(example)] for example in batch]
        for name, values in compute_columns(x, out).items():
            columns.setdefault(name, np.full(len(examples), np.nan))[rows] = values
        advance(len(batch))
    return columns


def compute_columns(x: LossInput, out: LossOutput) -> Columns:
    """Compute the numbers of a batch's pairs; those of the reference are not there where the loss takes none."""
    columns = {
        "margin": out.chosen_rewards - out.rejected_rewards,
        "loss": out.losses,
        "chosen": out.chosen_rewards,
        "rejected": out.rejected_rewards,
        "chosen_logps": x.policy_chosen.sums,
        "rejected_logps": x.policy_rejected.sums,
    }
    if x.reference_chosen is not None and x.reference_rejected is not None:
        columns |= {"chosen_ref": x.reference_chosen.sums, "rejected_ref": x.reference_rejected.sums}
    return {name: np.array(values).astype(np.float64) for name, values in columns.items()}
