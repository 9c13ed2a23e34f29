"""A Pipeline scores with a model whose layers are spread over the ranks, each rank a stage: a run of layers.

States go from stage to stage through this process, the first stage, over the pipes that lead to every rank. For two ranks that is the way
they go anyway; for more, what stages in between hand on passes here twice. In return there is one channel to each rank, with its beats,
its deadline and its end, which for a rank over ssh is encrypted; no rank waits for another one's death in a collective, and a rank that dies
first is who is named.

A stage takes the next batch while the following ones work on those before it. A few batches are under way at a time, so that a stage
has its next one there when it is through with its last.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np

from prefd.daemon.runs.pipeline_summary import PipelineSummary, StageSummary
from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.ranks.crew import Crew
from prefd.daemon.worker.ranks.mate import Mate
from prefd.daemon.worker.ranks.pairs import pack_completions
from prefd.daemon.worker.ranks.stage_service import split_scores
from prefd.daemon.worker.ranks.states import pack_states
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.scoring.stage import Stage, describe_way
from prefd.plugins.types import Logprobs

UNDER_WAY = 2
"""Batches for each of the other stages that are under way at most: one that it computes, and one that waits there."""
LOOK_SECONDS = 0.5

Batch = Sequence[Completion]
Waited = Callable[[int], None]
"""Called again and again while the batch of this index is waited for; raises to stop that."""


@dataclass(frozen=True)
class Pipeline:
    """Pipeline scores as `scorer` does, to the last bit, with each rank's layers in the memory of that rank alone."""

    scorer: Scorer
    """The way to score, with a model of which this rank's stage alone is read."""
    own: Stage
    crew: Crew
    summary: PipelineSummary
    """Which rank has which layers."""
    peaks: dict[int, int] = field(default_factory=dict)
    """The most memory that MLX has taken in each rank."""
    slowest: dict[int, float] = field(default_factory=dict)
    """Of the last batch, the seconds that each stage took."""
    sent: Counter[int] = field(default_factory=Counter)
    """Bytes of states that went to each rank."""
    runs: list[int] = field(default_factory=list)
    """The numbers of `run`'s calls: what is still under way of an earlier one, whose rest nobody wanted, is dropped."""

    def describe(self) -> str:
        """Say in words how completions are scored."""
        return f"{self.scorer.describe()}; {self.summary.format_stages()}"

    @property
    def largest_stage(self) -> int:
        """Return how many layers the largest stage has."""
        return max(stage.end - stage.begin for stage in self.summary.stages)

    def measure_layer(self) -> float:
        """Return the seconds that a layer took for the last batch, of the stage where it took the longest."""
        sizes = {stage.rank: stage.end - stage.begin for stage in self.summary.stages}
        return max(seconds / sizes[rank] for rank, seconds in self.slowest.items())

    def summarize(self) -> PipelineSummary:
        """Say for the report what each rank has done."""
        stages = [self._summarize(stage) for stage in self.summary.stages]
        return PipelineSummary(layers=self.summary.layers, stages=stages)

    def _summarize(self, stage: StageSummary) -> StageSummary:
        peak = mx.get_peak_memory() if stage.rank == 0 else self.peaks.get(stage.rank, 0)
        return stage.model_copy(update={"peak_bytes": peak, "sent_bytes": self.sent[stage.rank]})

    def logprobs(self, batches: Sequence[Batch], on_wait: Waited = lambda _: None) -> Iterator[Logprobs]:
        """Compute for each of `batches` what `Scorer.logprobs` gives for it. Raises LostRank."""
        return self.run(self.scorer, batches, on_wait)

    def run(self, scorer: Scorer, batches: Sequence[Batch], on_wait: Waited = lambda _: None) -> Iterator[Logprobs]:
        """Do so as `scorer` does. Nobody else has a rank's layers: without it, the next try begins with the ranks that are there then."""
        self.runs.append(len(self.runs))
        way = dict(describe_way(scorer))
        mates = self.crew.mates
        next_batch = next_result = 0
        while next_result < len(batches):
            self.crew.news.clear()
            before = next_result
            for index, values in self._pass_on(way, batches):
                assert index == next_result, "stages hand batches on in their order"
                next_result += 1
                yield tabulate_scores(values, batches[index])
            if next_batch < len(batches) and next_batch - next_result < UNDER_WAY * len(mates):
                self._start(way, next_batch, batches[next_batch])
                next_batch += 1
            elif before == next_result < len(batches):
                self.crew.news.wait(LOOK_SECONDS)
            on_wait(min(next_result, len(batches) - 1))

    def _start(self, way: dict[str, Any], index: int, batch: Batch) -> None:
        """Run a batch through this rank's stage, and hand it to the next one."""
        began = time.monotonic()
        states = self.own.run(way, batch, [])
        assert not isinstance(states, Logprobs)
        self.slowest[0] = time.monotonic() - began
        names, arrays = pack_states(states)
        self._tell(self.crew.mates[0], way, batch, index, names, arrays)

    def _pass_on(self, way: dict[str, Any], batches: Sequence[Batch]) -> Iterator[tuple[int, Any]]:
        """Give what the last stage has done, and hand to the next one what each has: where one has died, those behind it are heard first."""
        mates = self.crew.mates
        for mate, following in reversed([*zip(mates, [*mates[1:], None])]):
            while mate.has_answered:
                frame = mate.hear()
                run, index = frame.head["batch"]
                self.slowest[mate.rank] = frame.head["seconds"]
                self.peaks[mate.rank] = frame.head["peak_memory"]
                if run != self.runs[-1]:
                    continue
                if following is None:
                    yield index, frame.arrays[0]
                else:
                    self._tell(following, way, batches[index], index, frame.head["states"], frame.arrays)

    def _tell(
        self, mate: Mate, way: dict[str, Any], batch: Batch, index: int, names: Any, arrays: Sequence[Any]
    ) -> None:
        self.sent[mate.rank] += sum(array.nbytes for array in arrays)
        head = {"do": "run", "batch": [self.runs[-1], index], "way": way, "states": names}
        mate.tell(head, [*pack_completions(batch), *arrays])


def tabulate_scores(values: Any, batch: Batch) -> Logprobs:
    """Make the table that `Scorer.logprobs` gives of what the last stage has sent."""
    rows = split_scores(values, batch)
    table = np.zeros((len(rows), max(map(len, rows))), np.float32)
    mask = np.zeros_like(table)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return Logprobs(mx.array(table), mx.array(mask))
