"""SharedScoring shares the batches of a reference pass out among ranks: each takes the next one when it has done its last.

There is no sum among them, so a rank that dies costs a batch, which another takes; the first rank, which scores too, is enough.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from prefd.daemon.worker.data.tokens import Completion, Example, list_places
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.ranks.crew import Crew
from prefd.daemon.worker.ranks.mate import LostRank, Mate
from prefd.daemon.worker.ranks.pairs import pack_completions
from prefd.daemon.worker.reference.scoring_batches import Batch
from prefd.daemon.worker.reference.scoring_pass import ReferencePass, Scores
from prefd.daemon.worker.stopping import StopEvent

log = logging.getLogger(__name__)

BATCHES_EACH = 4
"""So many batches there are for each rank, at least: with fewer the last one makes the others wait."""
DEADLY = 2
"""A batch that so many ranks have died of is not given to another."""


def cut_finer(batch_tokens: int, tokens: int, ranks: int) -> int:
    """Return the tokens of a batch where `tokens` in all are scored by so many ranks."""
    return max(1, min(batch_tokens, tokens // (BATCHES_EACH * ranks)))


@dataclass
class SharedScoring:
    """SharedScoring is a reference pass of several ranks. `rows`: the pair that each key belongs to."""

    own: ReferencePass
    crew: Crew
    rows: Mapping[bytes, Example]
    warnings: list[str] = field(default_factory=list)
    scored_by: Counter[int] = field(default_factory=Counter)
    """How many completions each rank has scored."""

    def __post_init__(self) -> None:
        self._mates: list[Mate] = []
        self._loading = list(self.crew.mates)
        self._given: dict[int, int] = {}
        self._deaths: Counter[int] = Counter()

    def score(
        self, batches: Sequence[Batch], on_run: Callable[[Batch], None], stop: StopEvent
    ) -> Iterator[tuple[Batch, Scores]]:
        """Score the batches, in whatever order they come, until all are scored or a stop is requested.

        `on_run` is called after each. Raises JobError for a batch that two ranks have died of.
        """
        self._given, self._deaths = {}, Counter()
        waiting = deque(range(len(batches)))
        while (waiting or self._given) and not stop.is_set():
            self._hand_out(batches, waiting)
            if waiting and not any(mate.has_answered for mate in self._mates if mate.rank in self._given):
                index = waiting.popleft()
                scored: tuple[Batch, Scores] | None = self._score_itself(batches[index])
            else:
                scored = self._hear(batches, waiting)
            if scored is not None:
                on_run(scored[0])
                yield scored

    def _score_itself(self, batch: Batch) -> tuple[Batch, Scores]:
        (scores,) = self.own.score([batch])
        self.scored_by[0] += len(batch)
        return batch, scores

    def _hand_out(self, batches: Sequence[Batch], waiting: deque[int]) -> None:
        """Give each rank that has nothing to do the next batch."""
        self._welcome()
        for mate in list(self._mates):
            if mate.rank in self._given or not waiting:
                continue
            index = waiting.popleft()
            self._given[mate.rank] = index
            completions: list[Completion] = [completion for _, completion in batches[index]]
            try:
                mate.tell({"do": "score", "batch": index}, pack_completions(completions))
            except LostRank as error:
                self._give_back(mate, str(error), batches, waiting)

    def _welcome(self) -> None:
        """Take those in that have loaded the reference by now."""
        for mate in [each for each in self._loading if each.has_answered]:
            self._loading.remove(mate)
            try:
                mate.hear()
            except LostRank as error:
                self._note_death(str(error))
            else:
                self._mates.append(mate)

    def _note_death(self, cause: str) -> None:
        log.warning("%s", cause)
        self.warnings.append(f"{cause}: the others have scored its part of the reference")

    def _hear(self, batches: Sequence[Batch], waiting: deque[int]) -> tuple[Batch, Scores] | None:
        """Take the answer of a rank, of one that has answered already where there is one; None where it has died."""
        busy = [mate for mate in self._mates if mate.rank in self._given]
        mate = next((each for each in busy if each.has_answered), busy[0])
        try:
            frame = mate.hear()
        except LostRank as error:
            self._give_back(mate, self.crew.cause or str(error), batches, waiting)
            return None
        batch = batches[self._given.pop(mate.rank)]
        self.scored_by[mate.rank] += len(batch)
        lengths = [len(completion.ids) - completion.start for _, completion in batch]
        ends = np.cumsum(lengths)
        values = frame.arrays[0]
        return batch, {
            key: values[end - length : end].copy() for (key, _), end, length in zip(batch, ends, lengths, strict=True)
        }

    def _give_back(self, mate: Mate, cause: str, batches: Sequence[Batch], waiting: deque[int]) -> None:
        """Go on without a rank, whose batch another takes. Raises JobError for one that is deadly."""
        index = self._given.pop(mate.rank)
        self._mates.remove(mate)
        self._deaths[index] += 1
        self._note_death(cause)
        if self._deaths[index] >= DEADLY:
            places = list_places([self.rows[key] for key, _ in batches[index]])
            raise JobError(f"{DEADLY} ranks have died of the same batch of the reference, of {places}: {cause}")
        waiting.appendleft(index)
