"""Answers what a client asks without changing anything: log-probabilities of a prompt, from the cache, and samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.live.datums import Vocabulary
from prefd.daemon.worker.live.references import Asked, References, ScoredAnswer
from prefd.daemon.worker.live.samplers import Samplers
from prefd.daemon.worker.sampling.generator import Generator
from prefd.daemon.worker_tasks.live_requests import ComputeLogprobsRequest, SampleRequest, SampleResult

Question = ComputeLogprobsRequest | SampleRequest


@dataclass
class Questions:
    """Questions answers for the base model and for saved adapters."""

    vocabulary: Vocabulary
    samplers: Samplers
    references: References
    generator: Generator

    def answer(self, questions: Sequence[Question]) -> Iterator[SampleResult]:
        """Yield the answers in order, after one look into the cache and one pass over all that it lacks.

        Raises `JobError` where one of them cannot be answered, `Interrupted` at a stop.
        """
        scorings = {}
        for question in questions:
            completion = self._make_completion(question)
            sampler = self.samplers.get(question.path)
            if wants_prompt(question) and len(question.tokens) > 1:
                scorings[question.n] = Asked(sampler, completion)
        answers = dict(zip(scorings, self.references.answer(list(scorings.values()))))
        for question in questions:
            yield self._complete(question, answers.get(question.n))

    def _make_completion(self, question: Question) -> Completion:
        if not question.tokens:
            raise JobError(f"{question.kind}: the prompt has no tokens")
        last = question.prompt_logprobs_last_n or len(question.tokens)
        start = max(1, len(question.tokens) - last)
        return self.vocabulary.make_completion(question.tokens, start, f"{question.kind}: the prompt")

    def _complete(self, question: Question, answer: ScoredAnswer | None) -> SampleResult:
        """Make the result of a question whose prompt has the `answer`, if it was asked for."""
        result = SampleResult(n=question.n)
        if isinstance(question, SampleRequest):
            model = self.samplers.get(question.path).model
            result = SampleResult(n=question.n, sequences=self.generator.sample(model, question))
        if not wants_prompt(question):
            return result
        values = [] if answer is None else answer.logprobs.tolist()
        return result.model_copy(
            update={
                "prompt_logprobs": [None] * (len(question.tokens) - len(values)) + values,
                "ref_hits": int(answer is not None and answer.hit),
                "ref_scored": int(answer is not None and not answer.hit),
            }
        )


def wants_prompt(question: Question) -> bool:
    """Say whether the log-probabilities of the prompt's own tokens are asked for."""
    return isinstance(question, ComputeLogprobsRequest) or question.prompt_logprobs
