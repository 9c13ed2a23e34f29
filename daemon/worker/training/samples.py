"""Samples has the policy answer the same prompts while it trains, for a person to read beside what its start answered.

An answer is drawn from a seed of its own, a step from one of its own, and no weight is touched: training goes on as it would
have without. What cannot be drawn is told, and training goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import mlx.core as mx
from mlx import nn

from prefd.daemon.runs.phase_summaries import SamplesSummary
from prefd.daemon.runs.samples import DrawnAnswer, DrawnSample, Ending, SamplesLog
from prefd.daemon.specs.samples_spec import SamplesSpec
from prefd.daemon.text.wording import pluralize
from prefd.daemon.worker.data.sample_prompts import SamplePrompt, find_prompts
from prefd.daemon.worker.device_trouble import is_device_trouble
from prefd.daemon.worker.errors import Interrupted
from prefd.daemon.worker.job import RunningJob, SpecifiedJob
from prefd.daemon.worker.models.lookup_tables import Tables
from prefd.daemon.worker.models.pass_length import PREFILL_TOKENS
from prefd.daemon.worker.stopping import StopEvent
from prefd.plugins.errors import describe_exception

if TYPE_CHECKING:
    from prefd.daemon.worker.sampling.generator import Generator

log = logging.getLogger(__name__)

MOST_DEATHS = 2
"""Workers that may die of one answer before it is left out: a third one would fail the job."""


def load_prompts(job: SpecifiedJob) -> list[SamplePrompt]:
    """Load the prompts that the spec's `eval_samples` asks for; none where it has none. Raises `DataError`."""
    samples = job.spec.eval_samples
    return [] if samples is None else find_prompts(samples, job.spec.data, job.data.held_out, job.tokenizer)


@dataclass
class Samples:
    """Samples draws the answers that are due and have not been drawn yet, and writes each down."""

    spec: SamplesSpec
    prompts: Sequence[SamplePrompt]
    interval: int
    """Steps between two samplings."""
    log: SamplesLog
    generator: Generator
    drawn: dict[tuple[int, int], DrawnSample] = field(default_factory=dict)
    """By step and number of the prompt."""

    @classmethod
    def open(cls, job: RunningJob, interval: int, stop: StopEvent) -> Samples | None:
        """Open the samples of `job`, whose evaluations are `interval` steps apart; None where its spec asks for none.

        Raises `DataError` for prompts that cannot be used.
        """
        spec = job.spec.eval_samples
        if spec is None:
            return None
        from prefd.daemon.worker.sampling.generator import Generator  # here: few jobs draw answers

        most = PREFILL_TOKENS >> job.run.batches.halvings
        generator = Generator(job.policy, Tables.read(job.policy), job.run.job, stop, most)
        generator.__dict__["tokenizer"] = job.tokenizer
        return cls(spec, load_prompts(job), spec.every or interval, job.run.samples, generator)

    def resume_after(self, step: int) -> str | None:
        """Go on after `step` with what is written down, and return a remark where the prompts are no longer the same."""
        earlier = self.log.resume_after(step)
        texts = {number: prompt.text for number, prompt in enumerate(self.prompts, 1)}
        self.drawn = {(each.step, each.number): each for each in earlier if texts.get(each.number) == each.prompt}
        if len(self.drawn) == len(earlier):
            return None
        return "the prompts of eval_samples are not those that the job began with: answers to new ones stand without the start's"

    def draw_due(self, step: int, is_last: bool, model: nn.Module) -> None:
        """Draw what is due after `step`; what is written down already is not drawn again. Raises `Interrupted` at a stop."""
        if step and step % self.interval and not is_last:
            return
        missing = [number for number in range(1, len(self.prompts) + 1) if (step, number) not in self.drawn]
        if not missing:
            return
        began = time.monotonic()
        with _in_evaluation_mode(model):
            for place, number in enumerate(missing):
                left = began + self.spec.seconds - time.monotonic()
                self._draw(step, number, model, time.monotonic() + left / (len(missing) - place))
        seconds = time.monotonic() - began
        log.info(
            "after step %d: %s to read in %s, %.1f s", step, pluralize(len(missing), "answer"), self.log.path, seconds
        )

    def _draw(self, step: int, number: int, model: nn.Module, deadline: float) -> None:
        prompt, began = self.prompts[number - 1], time.monotonic()
        start = self.drawn.get((0, number)) if step else None
        answer, fault = None, ""
        try:
            if self.log.note_attempt(step, number) >= MOST_DEATHS:
                fault = f"{MOST_DEATHS} workers have ended while they drew it"
            else:
                answer = self._answer(prompt, model, deadline)
        except Interrupted:
            self.log.forget_attempt()
            raise
        except Exception as error:  # a model's or a tokenizer's, or want of memory: training goes on
            if is_device_trouble(error):  # nothing runs on such a device: the next worker draws it
                raise
            fault = describe_exception(error)
        sample = DrawnSample(
            step=step,
            number=number,
            place=prompt.place,
            prompt=prompt.text,
            start=None if start is None else start.answer,
            answer=answer,
            fault=fault,
            seconds=round(time.monotonic() - began, 3),
        )
        if fault:
            log.warning("no answer to %s after step %d: %s", prompt.place, step, fault)
        self.drawn[step, number] = sample
        try:
            self.log.append(sample)
            self.log.forget_attempt()
        except OSError as error:
            log.warning("%s cannot be written: %s", self.log.path, error)

    def _answer(self, prompt: SamplePrompt, model: nn.Module, deadline: float) -> DrawnAnswer:
        from prefd.daemon.worker_tasks.live_requests import SampleRequest, SamplingParams

        room, most = self.generator.tables.positions, self.spec.max_tokens
        if room is not None:
            most = min(most, room - len(prompt.tokens))
        params = SamplingParams(max_tokens=most, temperature=self.spec.temperature, seed=self.spec.seed)
        request = SampleRequest(n=1, tokens=prompt.tokens, params=params)
        (sequence,) = self.generator.sample(model, request, deadline)
        ended: Ending = sequence.stop_reason
        if ended == "length" and len(sequence.tokens) < most:
            ended = "time"
        text = self.generator.tokenizer.decode(list(sequence.tokens), skip_special_tokens=True)
        return DrawnAnswer(text=text, tokens=len(sequence.tokens), ended=ended)

    def summarize(self) -> SamplesSummary:
        """Say how many answers were drawn, and what that took, for the job's report."""
        samples = list(self.drawn.values())
        return SamplesSummary(
            path=str(self.log.path),
            samplings=len({sample.step for sample in samples}),
            answers=sum(sample.answer is not None for sample in samples),
            cut=sum(sample.answer is not None and sample.answer.ended == "time" for sample in samples),
            faults=sum(sample.answer is None for sample in samples),
            seconds=round(sum(sample.seconds for sample in samples), 3),
        )

    def describe_faults(self) -> str | None:
        """Tell the job's owner which answers could not be drawn; None where all could."""
        faulty = [sample for sample in self.drawn.values() if sample.answer is None]
        if not faulty:
            return None
        first = faulty[0]
        return (
            f"{pluralize(len(faulty), 'answer')} of eval_samples could not be drawn, the first after step {first.step} to "
            f"{first.place}: {first.fault}"
        )


@contextmanager
def _in_evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Hold `model` in evaluation mode inside the block, and give back what was used there."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
        mx.clear_cache()
