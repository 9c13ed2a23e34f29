"""StageService runs a rank's stage of a pipeline for the first rank: states come over the pipe, and go back when they have run on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.ranks.frames import Array, Frame
from prefd.daemon.worker.ranks.pairs import unpack_completions
from prefd.daemon.worker.ranks.states import pack_states, unpack_states
from prefd.daemon.worker.scoring.stage import Stage
from prefd.plugins.types import Logprobs

COMPLETION_ARRAYS = 3
"""So many arrays of a command are its completions, as `pack_completions` makes them; the rest are states."""


@dataclass(frozen=True)
class StageService:
    """StageService answers the first rank's commands with what `stage` gives."""

    stage: Stage

    def answer(self, command: Frame) -> tuple[Mapping[str, Any], Sequence[Array]]:
        """Run a batch through the stage: the answer's head, and states or log-probabilities."""
        began = time.monotonic()
        head = command.head
        completions = unpack_completions(command.arrays[:COMPLETION_ARRAYS])
        states = unpack_states(head["states"], command.arrays[COMPLETION_ARRAYS:])
        result = self.stage.run(head["way"], completions, states)
        names, arrays = (
            ([], [join_scores(result, completions)]) if isinstance(result, Logprobs) else pack_states(result)
        )
        facts = {"batch": head["batch"], "states": names, "seconds": time.monotonic() - began}
        return facts | {"peak_memory": mx.get_peak_memory()}, arrays


def join_scores(logprobs: Logprobs, completions: Sequence[Completion]) -> Array:
    """Make one array of the log-probabilities of a batch, those of one completion behind those of another."""
    table = np.array(logprobs.tokens)
    return np.concatenate([row[: len(each.ids) - each.start] for row, each in zip(table, completions)])


def split_scores(values: Array, completions: Sequence[Completion]) -> list[Array]:
    """Take apart what `join_scores` made: for each completion its log-probabilities."""
    lengths = [len(each.ids) - each.start for each in completions]
    ends = np.cumsum(lengths)
    return [values[end - length : end].copy() for end, length in zip(ends, lengths, strict=True)]
