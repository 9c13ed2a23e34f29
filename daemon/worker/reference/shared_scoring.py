"""SharedScoring shares the batches of a reference pass out among ranks: each takes the next one when it has done its last.

There is no sum among them, so a rank that dies costs a batch, which another takes; the first rank, which scores too, is enough.
Each of the others has a thread here, so that none waits for its next batch while this process computes one of its own.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from prefd.daemon.worker.data.tokens import Example, list_places
from prefd.daemon.worker.device_trouble import find_rank_trouble
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.ranks.crew import Crew
from prefd.daemon.worker.ranks.frames import Frame
from prefd.daemon.worker.ranks.mate import LostRank, Mate
from prefd.daemon.worker.ranks.pairs import pack_completions
from prefd.daemon.worker.reference.batch_board import BatchBoard, ScoringTask
from prefd.daemon.worker.reference.scoring_batches import Batch
from prefd.daemon.worker.reference.scoring_pass import ReferencePass, Scores
from prefd.daemon.worker.stopping import StopEvent
from prefd.plugins.errors import describe_exception

log = logging.getLogger(__name__)

BATCHES_EACH = 4
"""So many batches there are for each rank, at least: with fewer the last one makes the others wait."""
DEADLY = 2
"""A batch that so many ranks have died of is not given to another."""
LOOK_SECONDS = 0.2
"""How soon a stop is seen while others compute."""


def cut_finer(batch_tokens: int, tokens: int, ranks: int) -> int:
    """Return the tokens of a batch where `tokens` in all are scored by so many ranks."""
    return max(1, min(batch_tokens, tokens // (BATCHES_EACH * ranks)))


@dataclass(frozen=True)
class _Death:
    """The end of another rank: why it ended, and the task that it had, None where it had none."""

    cause: str
    task: ScoringTask | None


@dataclass(frozen=True)
class _Answer:
    """The scores of a batch, and the rank that they are from."""

    rank: int
    batch: Batch
    scores: Scores
    seconds: float
    """How long that rank has computed."""


OnRun = Callable[[Batch, float, int], None]
"""Called with a batch that has run, the seconds that it took, and the rank that it ran in."""


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
        self._board = BatchBoard(self.crew.size)
        self._news: queue.SimpleQueue[_Answer | _Death] = queue.SimpleQueue()
        for mate in self.crew.mates:
            arguments = (mate, self._board, self._news)  # and not the reference, whose memory training needs
            threading.Thread(target=attend, args=arguments, name=f"batches-{mate.rank}", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._board.close()

    def score(
        self,
        batches: Sequence[Batch],
        on_run: OnRun,
        stop: StopEvent,
        take_more: Callable[[], Sequence[Batch]] = lambda: (),
    ) -> Iterator[tuple[Batch, Scores]]:
        """Score the batches, in parts and in whatever order they come, until all are scored or a stop is requested.

        `take_more` is called when few are left, for others that are to be scored too, so that no rank waits between two chunks. `on_run`
        is called after each. Raises JobError for a batch that two ranks have died of, and LostRank where the last of them
        said that its memory ran out, or that its device is in trouble: what a job goes on from with smaller batches.
        """
        remaining = sum(map(len, batches))
        self._board.add(batches)
        while remaining and not stop.is_set():
            if self._board.is_low and (more := take_more()):
                remaining += sum(map(len, more))
                self._board.add(more)
            answer = self._take_answer()
            if answer is not None:
                remaining -= len(answer.batch)
                on_run(answer.batch, answer.seconds, answer.rank)
                yield self._count(answer)

    def take_answers(self) -> Iterator[tuple[Batch, Scores]]:
        """Take what other ranks have scored while this one computed, where nobody goes on with `score`."""
        while not self._news.empty():
            news = self._news.get()
            if isinstance(news, _Answer):
                yield self._count(news)

    def _count(self, answer: _Answer) -> tuple[Batch, Scores]:
        self.scored_by[answer.rank] += len(answer.batch)
        return answer.batch, answer.scores

    def _take_answer(self) -> _Answer | None:
        """Take what another rank has scored by now, or score a batch here; None where there was nothing of either for a while."""
        try:
            news = self._news.get_nowait()
        except queue.Empty:
            if (task := self._board.take()) is not None:
                began = time.monotonic()
                (scores,) = self.own.score([task.batch])
                return _Answer(0, task.batch, scores, time.monotonic() - began)
            try:
                news = self._news.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                return None
        if isinstance(news, _Answer):
            return news
        self._note_death(news)
        return None

    def _note_death(self, death: _Death) -> None:
        """Say that the others go on without a rank. Raises as `score` where it has died of a batch that is deadly."""
        log.warning("%s", death.cause)
        self.warnings.append(f"{death.cause}: the others have scored its part of the reference")
        if death.task is not None and is_deadly(death.task):
            if find_rank_trouble(death.cause) is not None:
                raise LostRank(death.cause)
            places = list_places([self.rows[key] for key, _ in death.task.batch])
            raise JobError(f"{DEADLY} ranks have died of the same batch of the reference, of {places}: {death.cause}")


def attend(mate: Mate, board: BatchBoard, news: queue.SimpleQueue[_Answer | _Death]) -> None:
    """Give another rank, once it has loaded the reference, batch after batch, and put what it answers into `news`."""
    task = None
    try:
        mate.hear()
        log.info("%s has loaded the reference", mate.name)
        while (task := board.wait()) is not None:
            mate.tell({"do": "score"}, pack_completions([completion for _, completion in task.batch]))
            task = replace(task, deaths=task.deaths + 1)  # one that was dead before it was told has not died of it
            answer = mate.hear()
            scores, seconds = read_scores(answer, task.batch), float(answer.head["seconds"])
            news.put(_Answer(mate.rank, task.batch, scores, seconds))
    except Exception as error:
        cause = str(error)
        if not isinstance(error, LostRank):
            log.exception("%s", mate.name)
            cause = f"{mate.name} answered what cannot be read ({describe_exception(error)})"
        if task is not None and not is_deadly(task):
            board.give_back(task)
        news.put(_Death(cause, task))


def is_deadly(task: ScoringTask) -> bool:
    """Say whether so many ranks have died of a batch that no other is to try it."""
    return task.deaths >= DEADLY


def read_scores(frame: Frame, batch: Batch) -> Scores:
    """Read the answer of a rank: key → (length,) float32. Raises ValueError for one of another number of tokens."""
    lengths = [len(completion.ids) - completion.start for _, completion in batch]
    ends = np.cumsum(lengths)
    values = frame.arrays[0]
    if values.shape != (ends[-1],):
        raise ValueError(f"log-probabilities of shape {values.shape} for {ends[-1]} tokens")
    return {key: values[end - length : end].copy() for (key, _), end, length in zip(batch, ends, lengths, strict=True)}
