"""What it does to a sequence's numbers that others run beside it."""

from __future__ import annotations

import numpy as np

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.scoring.scorer import Scorer
from support.full_logits import completion


def neighbours_apart(scorer: Scorer, batch: list[Completion]) -> float:
    """The largest difference that it makes to a token of `batch` what runs beside its sequence, in nats."""
    together = np.array(scorer.logprobs(batch).tokens)
    backwards = np.array(scorer.logprobs(batch[::-1]).tokens)[::-1]
    alone = [np.array(scorer.logprobs([one]).tokens)[0] for one in batch]
    return max(
        float(np.abs(backwards - together).max()),
        *(float(np.abs(row[: len(one)] - one).max()) for row, one in zip(together, alone)),
    )


def with_siblings(lengths: tuple[int, ...], vocab: int) -> list[Completion]:
    """Completions of these lengths, and to each prompt a second one."""
    batch = [completion(length, 5, length, vocab) for length in lengths]
    others = [completion(length + 3, 5, length, vocab) for length in lengths]
    return batch + [Completion(np.concatenate([one.prompt, other.ids[5:]]), 5) for one, other in zip(batch, others)]
