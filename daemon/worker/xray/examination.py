"""Examines a job's pairs: by their tokens, and by what the cache has of the reference's scores. It scores nothing and loads no weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from prefd.daemon.home.cache import open_cache
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config
from prefd.daemon.worker.data.decoding import decode_side
from prefd.daemon.worker.data.remarks import find_alike, find_cut
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.xray.counts import count_source_tokens, measure_length_bias, view_reference
from prefd.daemon.worker.xray.neighbours import Ranks, rank_margins
from prefd.daemon.worker.xray.pair_features import PairFeatures, Scores
from prefd.daemon.worker.xray.predictability import Predictions, predict_labels
from prefd.daemon.worker.xray.repeats import find_contradictions, find_duplicates
from prefd.daemon.worker_tasks.xrays import (
    DoubtedPairs,
    FindingKind,
    FoundPair,
    Predictability,
    XRay,
    XRayInput,
)

AGAINST = -2.0
"""A margin this many standard deviations below its neighbours' is strongly the other way round."""
UNPREDICTABLE = 0.6
"""Accuracy below which labels are hardly predicted, and those that are doubted are little better than chance."""
KINDS: tuple[FindingKind, ...] = ("suspects", "against-reference", "contradictions", "duplicates", "alike", "cut")


def examine(home: Home, request: XRayInput) -> XRay:
    """Examine the pairs of a spec. Raises what loading a job's data and identifying its reference raise."""
    return examine_job(SpecifiedJob(home, request.spec), request)


def examine_job(job: SpecifiedJob, request: XRayInput) -> XRay:
    """Examine the pairs of a job, whose data may have been loaded before."""
    if job.loss.unpaired:
        raise JobError("xray examines pairs, and the loss of this spec learns from single answers")
    examination = Examination(job)
    wanted = request.only or KINDS
    return XRay(
        model=job.policy.model,
        reference=job.reference.model,
        data=job.data.report.summarize(),
        pairs=len(job.examples),
        missing=examination.missing,
        lengths=measure_length_bias(examination.pairs),
        reference_view=view_reference(examination.pairs),
        predictability=examination.predictability,
        findings=[examination.list_pairs(kind, request.limit) for kind in KINDS if kind in wanted],
        sources=count_source_tokens(job.examples),
        notes=examination.list_notes(),
    )


@dataclass(frozen=True)
class Examination:
    """Examination holds what is computed once of a job's pairs."""

    job: SpecifiedJob
    rows_alone: bool = False
    """Whether the reference's scores are left aside: to look for them, all of its weights would have to be read once."""

    @cached_property
    def scores(self) -> Sequence[Scores]:
        """Return the reference's scores of each side, two for each pair; None for what the cache has not."""
        home, sides = self.job.home, [side for pair in self.job.examples for side in (pair.chosen, pair.rejected)]
        if self.rows_alone or not (Config.load(home).cache_url or home.has_cache):
            return [None] * len(sides)
        store = open_cache(home).peek(self.job.fingerprint)
        return [None] * len(sides) if store is None else store.find([self.job.key(side) for side in sides])

    @cached_property
    def pairs(self) -> PairFeatures:
        """Return the measures of the pairs."""
        return PairFeatures.measure(self.job.examples, list(zip(self.scores[::2], self.scores[1::2], strict=True)))

    @cached_property
    def missing(self) -> int:
        """Return how many completions the reference has not scored."""
        answers = [answer for both in self.pairs.answers for answer in both]
        return len({answer for answer, score in zip(answers, self.scores, strict=True) if score is None})

    @cached_property
    def predictions(self) -> Predictions | None:
        """Return what the other pairs say of each pair's label."""
        return predict_labels(self.pairs)

    @property
    def predictability(self) -> Predictability | None:
        """Return how well labels are predicted."""
        if self.predictions is None:
            return None
        return Predictability(accuracy=self.predictions.accuracy, doubted=int((self.predictions.logits < 0).sum()))

    @cached_property
    def ranks(self) -> Ranks:
        """Return where each pair's margin lies among its neighbours'."""
        return rank_margins(self.pairs)

    def list_pairs(self, kind: FindingKind, limit: int | None) -> DoubtedPairs:
        """List the pairs of one kind, the first `limit` of them with their texts."""
        remarks = self.find(kind)
        shown = list(remarks.items())[:limit]
        return DoubtedPairs(kind=kind, total=len(remarks), pairs=[self._make_pair(index, why) for index, why in shown])

    def find(self, kind: FindingKind) -> Mapping[int, str]:
        """Find the pairs of one kind, each with the reason in words; those to look at first come first."""
        match kind:
            case "suspects":
                return self._find_suspects()
            case "against-reference":
                return self._find_against_reference()
            case "contradictions":
                pairs = find_contradictions(self.pairs)
                return {index: f"{self._name(other)} prefers the other answer" for index, other in pairs}
            case "duplicates":
                return {index: f"repeats {self._name(first)}" for index, first in find_duplicates(self.pairs)}
            case "alike":
                return _sort_remarks({index: find_alike(example) for index, example in self._enumerate()})
            case "cut":
                limit = self.job.spec.data.max_length
                return _sort_remarks({index: find_cut(example, limit) for index, example in self._enumerate()})

    def list_notes(self) -> list[str]:
        """List what is to be known of the numbers."""
        notes = []
        if self.missing:
            notes.append(
                f"the reference has not scored {self.missing:,} completions, whose pairs are examined without it: `prefd run` "
                "with --precompute-only scores them"
            )
        if self.predictions is None:
            notes.append("the pairs or their prompts are too few to learn from what they prefer: none is a suspect")
        elif self.predictions.accuracy < UNPREDICTABLE:
            notes.append(
                f"labels are predicted with an accuracy of {self.predictions.accuracy:.2f} only: suspects are little better "
                "than chance"
            )
        return notes

    def _enumerate(self) -> list[tuple[int, Example]]:
        return list(enumerate(self.job.examples))

    def _name(self, index: int) -> str:
        return str(self.job.examples[index])

    def _find_suspects(self) -> dict[int, str]:
        if self.predictions is None:
            return {}
        probabilities = self.predictions.probabilities
        order = np.argsort(self.predictions.logits, kind="stable")
        return {
            int(index): f"the other pairs make its label {probabilities[index]:.1%} likely"
            for index in order
            if probabilities[index] < 0.5
        }

    def _find_against_reference(self) -> dict[int, str]:
        deviation = self.ranks.deviation
        order = np.argsort(np.where(np.isnan(deviation), np.inf, deviation), kind="stable")
        return {
            int(index): (
                f"margin {self.pairs.margin[index]:.1f} nats, rank {self.ranks.rank[index]} of {self.ranks.of[index]} "
                "with such a difference in length"
            )
            for index in order
            if deviation[index] <= AGAINST and self.pairs.margin[index] < 0
        }

    def _make_pair(self, index: int, why: str) -> FoundPair:
        example = self.job.examples[index]
        prompt, chosen = decode_side(self.job.tokenizer, example.chosen)
        _, rejected = decode_side(self.job.tokenizer, example.rejected)
        is_scored = bool(self.pairs.is_scored[index])
        return FoundPair(
            row=example.row,
            place=str(example),
            digest=example.digest,
            held_out=index >= len(self.job.data.train),
            why=why,
            probability=None if self.predictions is None else float(self.predictions.probabilities[index]),
            margin=float(self.pairs.margin[index]) if is_scored else None,
            rank=int(self.ranks.rank[index]) if is_scored else None,
            neighbours=int(self.ranks.of[index]) if is_scored else None,
            tokens={
                "prompt": example.chosen.start,
                "chosen": int(example.chosen.own.sum()),
                "rejected": int(example.rejected.own.sum()),
            },
            prompt=prompt,
            chosen=chosen,
            rejected=rejected,
        )


def _sort_remarks(remarks: Mapping[int, tuple[float, str] | None]) -> dict[int, str]:
    """Keep the pairs that have a remark, the largest amount first."""
    by_index = {index: remark for index, remark in remarks.items() if remark is not None}
    return {index: by_index[index][1] for index in sorted(by_index, key=lambda index: -by_index[index][0])}
