"""Measures each pair in the few numbers that its preference may follow: lengths, the reference's scores, and who its answers are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from prefd.daemon.worker.data.tokens import Completion, Example

Floats = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float32] | None
"""The reference's log-probability of each token of an answer; None where the cache has none."""


@dataclass(frozen=True)
class PairFeatures:
    """PairFeatures holds n pairs and their measures; of each the chosen side comes first."""

    examples: Sequence[Example]
    sums: Floats
    """(n, 2) The reference's log-probabilities of the answers, over the tokens that count, in nats; NaN where it has not scored them."""

    @classmethod
    def measure(cls, examples: Sequence[Example], scores: Sequence[tuple[Scores, Scores]]) -> PairFeatures:
        """Sum each answer's scores over the tokens that count."""
        sums = [
            [_sum_own(example.chosen, chosen), _sum_own(example.rejected, rejected)]
            for example, (chosen, rejected) in zip(examples, scores, strict=True)
        ]
        return cls(examples, np.array(sums, np.float64).reshape(-1, 2))

    @cached_property
    def lengths(self) -> Floats:
        """Return how many tokens of each answer count, (n, 2)."""
        counts = [[example.chosen.own.sum(), example.rejected.own.sum()] for example in self.examples]
        return np.array(counts, np.float64).reshape(-1, 2)

    @cached_property
    def prompts(self) -> npt.NDArray[np.int64]:
        """Return a number for each pair's prompt, (n,): the same for pairs of the same prompt, and the same in any order of the pairs."""
        digests = [blake2b(example.chosen.prompt.tobytes(), digest_size=8).digest() for example in self.examples]
        return np.unique(np.array([int.from_bytes(each, "big") for each in digests], np.uint64), return_inverse=True)[1]

    @cached_property
    def answers(self) -> list[tuple[bytes, bytes]]:
        """Return what tells the two answers to their prompts from all others."""
        return [(digest_side(example.chosen), digest_side(example.rejected)) for example in self.examples]

    @property
    def is_scored(self) -> npt.NDArray[np.bool_]:
        """Say of which pairs the reference has scored both answers, (n,)."""
        is_finite: npt.NDArray[np.bool_] = np.isfinite(self.sums)
        return is_finite[:, 0] & is_finite[:, 1]

    @property
    def length_ratio(self) -> Floats:
        """Return the logarithm of how many times as long as the rejected answer the chosen one is, (n,)."""
        return np.log(self.lengths[:, 0]) - np.log(self.lengths[:, 1])

    @property
    def margin(self) -> Floats:
        """Return by how many nats the reference finds the chosen answer likelier than the other, (n,)."""
        return self.sums[:, 0] - self.sums[:, 1]

    @property
    def mean_margin(self) -> Floats:
        """Return the same of the means per token, (n,)."""
        means: Floats = self.sums / self.lengths
        return means[:, 0] - means[:, 1]

    def count_other_wins(self) -> Floats:
        """Count how much more often the chosen answer wins than the rejected one does in all other pairs, (n,).

        It is 0 for answers that stand in one pair alone.
        """
        wins: Counter[bytes] = Counter()
        for chosen, rejected in self.answers:
            wins[chosen] += 1
            wins[rejected] -= 1
        return np.array([(wins[chosen] - 1) - (wins[rejected] + 1) for chosen, rejected in self.answers], np.float64)


def digest_side(side: Completion) -> bytes:
    """Digest an answer with its prompt."""
    return blake2b(side.start.to_bytes(4, "little") + side.ids.tobytes(), digest_size=16).digest()


def _sum_own(side: Completion, scores: Scores) -> float:
    return float("nan") if scores is None else float(scores.astype(np.float64)[side.own].sum())
