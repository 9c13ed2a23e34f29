"""Finds the largest micro-batch that a job can come to, which decides how much memory it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.scoring.plan import EQUAL, Slack, count_segment_tokens, plan_shared
from prefd.daemon.worker.training.schedule import Batching, count_tokens


@dataclass(frozen=True)
class TokenRun:
    """TokenRun is tokens that run at once: a batch of prompts, or of answers, with their padding."""

    tokens: float
    scores: float
    """Attention scores of one head: for each token, the tokens that it is compared with."""
    length: float = 0.0
    """Tokens of one of its sequences."""

    def cut(self, most: float) -> TokenRun:
        """Return a piece of at most so many tokens of each sequence."""
        return self.take(min(1.0, most / self.length) if self.length else 1.0)

    def take(self, share: float) -> TokenRun:
        """Return this share of it."""
        return TokenRun(share * self.tokens, share * self.scores, self.length)

    def take_rows(self, share: float) -> TokenRun:
        """Return this share of its sequences, and one at least."""
        return self.take(max(share, self.length / self.tokens) if self.tokens else 1.0)


@dataclass(frozen=True)
class LargestBatch:
    """LargestBatch holds the sizes of the largest micro-batch that decide how much memory it takes."""

    tokens: int
    """Tokens that run, but for the padding between unlike sequences."""
    logit_rows: int
    """Tokens whose logits are computed."""
    prompts: tuple[TokenRun, ...]
    answers: tuple[TokenRun, ...]
    """They run after their prompts."""
    share: float = 1.0
    """How much of these pairs fits into the batch."""
    others: tuple[TokenRun, ...] = ()
    """The longest prompt and the longest answer, which may be of other pairs."""

    @classmethod
    def of(cls, examples: Sequence[Example], batching: Batching, slack: Slack = EQUAL) -> LargestBatch:
        """Find the largest micro-batch that can come of `examples`, batched as `slack` has it: its pairs may be any."""
        largest = sorted(examples, key=count_tokens, reverse=True)[: batching.pairs]
        tokens = batching.count_most_tokens(examples)
        share = min(1.0, tokens / sum(map(count_tokens, largest)))
        prompts, answers = _plan_runs(largest, slack)
        longest = {
            id(example): example for example in (max(examples, key=_measure_prompt), max(examples, key=_measure_answer))
        }
        others = [run for example in longest.values() for runs in _plan_runs([example], slack) for run in runs]
        return cls(tokens, int(share * sum(map(_count_answer_tokens, largest))), prompts, answers, share, tuple(others))

    def add_whole(self, most: float) -> tuple[TokenRun, TokenRun]:
        """Add up the prompts, and the answers, whose sequences are not cut into pieces of at most so many tokens."""
        whole = ([run for run in runs if run.length <= most] for runs in (self.prompts, self.answers))
        prompts, answers = (
            TokenRun(sum(run.tokens for run in runs), sum(run.scores for run in runs)).take(self.share)
            for runs in whole
        )
        return prompts, answers

    def list_pieces(self, most: float) -> list[TokenRun]:
        """List the pieces of what is longer."""
        return [run.take_rows(self.share).cut(most) for run in (*self.prompts, *self.answers) if run.length > most]

    def list_at_once(self, most: float) -> list[TokenRun]:
        """List what runs at once, one after the other."""
        runs = [run.take_rows(self.share) for run in (*self.prompts, *self.answers)]
        return [run.cut(most) for run in (*runs, *self.others)]


def _plan_runs(examples: Sequence[Example], slack: Slack) -> tuple[tuple[TokenRun, ...], tuple[TokenRun, ...]]:
    """Plan what runs at once of `examples`: of their prompts, and of their answers."""
    sides = [side for example in examples for side in (example.chosen, example.rejected)]
    stems = plan_shared(sides, slack, slack)
    prompts = tuple(
        TokenRun(stem.tokens.size, stem.tokens.size * stem.tokens.shape[1], stem.tokens.shape[1]) for stem in stems
    )
    answers = tuple(
        TokenRun(
            branch.tokens.size,
            branch.tokens.size * (stem.tokens.shape[1] + branch.tokens.shape[1]),
            branch.tokens.shape[1],
        )
        for stem in stems
        for branch in stem.branches
    )
    return prompts, answers


def _measure_prompt(example: Example) -> int:
    return example.chosen.start


def _measure_answer(example: Example) -> int:
    return max(count_segment_tokens(side) * len(side.ids) for side in (example.chosen, example.rejected))


def _count_answer_tokens(example: Example) -> int:
    return sum(len(side.ids) - side.start for side in (example.chosen, example.rejected))
