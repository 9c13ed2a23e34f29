"""Finds the largest micro-batch that a job can come to, which decides how much memory it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.scoring.plan import EQUAL, Slack, count_segment_tokens, plan_shared
from prefd.daemon.worker.training.schedule import Batching, count_tokens


@dataclass(frozen=True)
class TokenRun:
    """TokenRun is tokens that run at once."""

    tokens: float
    scores: float
    """Attention scores of one head: for each token, the tokens that it is compared with."""

    def cut(self, most: float) -> TokenRun:
        """Return a piece of at most so many tokens."""
        return self.grow(min(1.0, most / self.tokens) if self.tokens else 1.0)

    def grow(self, factor: float) -> TokenRun:
        """Return so many times as much."""
        return TokenRun(factor * self.tokens, factor * self.scores)

    @classmethod
    def add(cls, spans: Sequence[TokenRun], share: float = 1.0) -> TokenRun:
        """Add up a share of `spans`."""
        return cls(sum(span.tokens for span in spans), sum(span.scores for span in spans)).grow(share)


@dataclass(frozen=True)
class LargestBatch:
    """The sizes of the largest micro-batch that decide how much memory it takes."""

    tokens: int
    """Tokens that run, padding included."""
    longest: int
    """Tokens of the longest sequence."""
    logit_rows: int
    """Tokens whose logits are computed."""
    prompts: tuple[TokenRun, ...]
    """Each prompt but its last token."""
    answers: tuple[TokenRun, ...]
    """Each answer, with its padding: they run after their prompts."""
    longest_prompt: TokenRun
    longest_answer: TokenRun
    share: float = 1.0
    """How much of these pairs fits into the batch."""

    @classmethod
    def of(cls, examples: Sequence[Example], batching: Batching, slack: Slack = EQUAL) -> LargestBatch:
        """Find the largest micro-batch that can come of `examples`, padded as `slack` has it: its pairs may be any."""
        largest = sorted(examples, key=count_tokens, reverse=True)[: batching.pairs]
        tokens = batching.count_most_tokens(examples)
        share = min(1.0, tokens / sum(map(count_tokens, largest)))
        sides = [side for example in largest for side in (example.chosen, example.rejected)]
        prompt_padding, answer_padding = _measure_padding(sides, slack)
        return cls(
            tokens,
            max(len(side.ids) for example in examples for side in (example.chosen, example.rejected)),
            int(share * sum(len(side.ids) - side.start for side in sides)),
            tuple(span.grow(prompt_padding) for span in map(_measure_prompt, largest)),
            tuple(span.grow(answer_padding) for span in _measure_answers(largest)),
            max(map(_measure_prompt, examples), key=lambda span: span.scores),
            max(_measure_answers(examples), key=lambda span: span.scores),
            share,
        )

    def list_whole(self, most: float) -> tuple[TokenRun, TokenRun]:
        """Add up the prompts, and the answers, that are not cut into pieces of at most so many tokens."""
        prompts, answers = ([span for span in spans if span.tokens <= most] for spans in (self.prompts, self.answers))
        return TokenRun.add(prompts, self.share), TokenRun.add(answers, self.share)

    def list_pieces(self, most: float, alone: bool) -> list[TokenRun]:
        """List the pieces that run at once of what is longer: of prompts, of answers; of one sequence where each runs `alone`."""
        kinds = [[span.cut(most) for span in spans if span.tokens > most] for spans in (self.prompts, self.answers)]
        return (
            [piece for pieces in kinds for piece in pieces]
            if alone
            else [TokenRun.add(each, self.share) for each in kinds]
        )

    def list_at_once(self, most: float, alone: bool) -> list[TokenRun]:
        """List what runs at once: all prompts, all answers; or the longest of each where each runs `alone`."""
        if alone:
            return [self.longest_prompt.cut(most), self.longest_answer.cut(most)]
        return [TokenRun.add([span.cut(most) for span in spans], self.share) for spans in (self.prompts, self.answers)]


def _measure_padding(sides: Sequence[Completion], slack: Slack) -> tuple[float, float]:
    """Measure how many tokens run for one of a prompt, and for one of an answer with its own padding, where they are batched."""
    stems = plan_shared(sides, slack, slack)
    prompts = {side.ids[: side.start - 1].tobytes(): side.start - 1 for side in sides}
    run = sum(stem.tokens.size for stem in stems), sum(branch.tokens.size for stem in stems for branch in stem.branches)
    needed = sum(prompts.values()), sum(map(count_segment_tokens, sides))
    return run[0] / needed[0] if needed[0] else 1.0, run[1] / needed[1]


def _measure_prompt(example: Example) -> TokenRun:
    tokens = example.chosen.start - 1
    return TokenRun(tokens, tokens**2)


def _measure_answers(examples: Sequence[Example]) -> Iterator[TokenRun]:
    for example in examples:
        for side in (example.chosen, example.rejected):
            tokens = count_segment_tokens(side)
            yield TokenRun(tokens, tokens * (side.start - 1 + tokens))
