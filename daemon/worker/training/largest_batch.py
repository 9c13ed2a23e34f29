"""Finds the largest micro-batch that a job can come to, which decides how much memory it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.scoring.plan import count_segment_tokens
from prefd.daemon.worker.training.schedule import Batching, count_tokens


@dataclass(frozen=True)
class LargestBatch:
    """The sizes of the largest micro-batch that decide how much memory it takes."""

    tokens: int
    """Tokens that run, padding included."""
    scores: float
    """Attention scores of one head: for each token, the tokens that it is compared with."""
    answers: int
    """Tokens whose logits are computed."""
    longest: int
    """Tokens of the longest sequence."""
    prompts: int = 0
    """Tokens of all prompts, each once."""

    @classmethod
    def of(cls, examples: Sequence[Example], batching: Batching) -> LargestBatch:
        """Find the largest micro-batch that can come of `examples`: its pairs may be any."""
        largest = sorted(examples, key=count_tokens, reverse=True)[: batching.pairs]
        tokens = batching.count_most_tokens(examples)
        share = min(1.0, tokens / sum(map(count_tokens, largest)))  # of these pairs, as many as fit
        sides = [side for example in largest for side in (example.chosen, example.rejected)]
        scores = sum((example.chosen.start - 1) ** 2 for example in largest) + sum(
            count_segment_tokens(side) * (side.start - 1 + count_segment_tokens(side)) for side in sides
        )
        answers = sum(len(side.ids) - side.start for side in sides)
        longest = max(len(side.ids) for example in examples for side in (example.chosen, example.rejected))
        prompts = sum(example.chosen.start - 1 for example in largest)
        return cls(tokens, max(share * scores, longest), int(share * answers), longest, int(share * prompts))
