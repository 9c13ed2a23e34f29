"""Finds the largest micro-batch that a job can come to, which decides how much memory it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.scoring.plan import count_segment_tokens
from prefd.daemon.worker.training.schedule import Batching, count_tokens


@dataclass(frozen=True)
class Span:
    """Span is tokens that run at once."""

    tokens: float
    scores: float
    """Attention scores of one head: for each token, the tokens that it is compared with."""


@dataclass(frozen=True)
class LargestBatch:
    """The sizes of the largest micro-batch that decide how much memory it takes."""

    tokens: int
    """Tokens that run, padding included."""
    longest: int
    """Tokens of the longest sequence."""
    logit_rows: int
    """Tokens whose logits are computed."""
    prompts: Span
    """All prompts but their last tokens, each once."""
    answers: Span
    """All answers, with their padding: they run after their prompts."""
    longest_prompt: Span
    longest_answer: Span

    @classmethod
    def of(cls, examples: Sequence[Example], batching: Batching) -> LargestBatch:
        """Find the largest micro-batch that can come of `examples`: its pairs may be any."""
        largest = sorted(examples, key=count_tokens, reverse=True)[: batching.pairs]
        tokens = batching.count_most_tokens(examples)
        share = min(1.0, tokens / sum(map(count_tokens, largest)))  # of these pairs, as many as fit
        prompts = [_measure_prompt(example) for example in largest]
        answers = [span for example in largest for span in _measure_answers(example)]
        every_prompt = [_measure_prompt(example) for example in examples]
        every_answer = [span for example in examples for span in _measure_answers(example)]
        sides = [side for example in largest for side in (example.chosen, example.rejected)]
        return cls(
            tokens,
            max(len(side.ids) for example in examples for side in (example.chosen, example.rejected)),
            int(share * sum(len(side.ids) - side.start for side in sides)),
            _add(prompts, share),
            _add(answers, share),
            max(every_prompt, key=lambda span: span.scores),
            max(every_answer, key=lambda span: span.scores),
        )

    def list_spans(self, alone: bool) -> tuple[Span, Span]:
        """List what runs at once: of prompts and of answers, the longest where each is `alone`, else all."""
        return (self.longest_prompt, self.longest_answer) if alone else (self.prompts, self.answers)


def _measure_prompt(example: Example) -> Span:
    tokens = example.chosen.start - 1
    return Span(tokens, tokens**2)


def _measure_answers(example: Example) -> list[Span]:
    sizes = [(side, count_segment_tokens(side)) for side in (example.chosen, example.rejected)]
    return [Span(tokens, tokens * (side.start - 1 + tokens)) for side, tokens in sizes]


def _add(spans: Sequence[Span], share: float) -> Span:
    """Add up a share of `spans`."""
    return Span(share * sum(span.tokens for span in spans), share * sum(span.scores for span in spans))
