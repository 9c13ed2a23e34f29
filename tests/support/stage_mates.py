"""Ranks of a pipeline without processes: each runs its stage in this one when it is told to, and every frame goes through bytes."""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from mlx import nn

from prefd.daemon.runs.pipeline_summary import PipelineSummary, StageSummary
from prefd.daemon.worker.ranks.frames import Frame, read_frame, write_frame
from prefd.daemon.worker.ranks.mate import LostRank
from prefd.daemon.worker.ranks.pipeline import Pipeline
from prefd.daemon.worker.ranks.stage_service import StageService
from prefd.daemon.worker.scoring.scorer import Scorer
from prefd.daemon.worker.scoring.stage import Stage, describe_way, take_way

OpenModel = Callable[[], nn.Module]


class StageMate:
    """StageMate is a rank with the layers from `begin` to `end`; it says what it has to say when it is looked at."""

    def __init__(self, rank: int, open_model: OpenModel, news: threading.Event, log: list[str]) -> None:
        self.rank = rank
        self.words = ""
        self.memory: tuple[int, int] | None = None
        self.log = log
        self.dies_after: int | None = None
        """So many batches."""
        self.looks_each = 0
        """How often it is looked at in vain before each answer."""
        self._looks = 0
        self._open_model = open_model
        self._news = news
        self._commands: deque[Frame] = deque()
        self._service: StageService | None = None

    def tell(self, head: Mapping[str, Any], arrays: Sequence[Any] = ()) -> None:
        """Takes a command."""
        stream = io.BytesIO()
        write_frame(stream, head, arrays)
        stream.seek(0)
        command = read_frame(stream)
        assert command is not None
        self._commands.append(command)
        self._news.set()

    @property
    def has_answered(self) -> bool:
        """Whether it has answered, or has ended."""
        if self._commands and self._looks < self.looks_each:
            self._looks += 1
            self._news.set()
            return False
        return bool(self._commands) or self.dies_after == 0

    def hear(self) -> Frame:
        """Its next answer."""
        if self.dies_after == 0:
            raise LostRank(f"rank {self.rank} " + (f"failed: {self.words}" if self.words else "died of SIGKILL"))
        command = self._commands.popleft()
        self._looks = 0
        if command.head["do"] == "stage":
            way = take_way(command.head["way"], self._open_model())
            self._service = StageService(Stage.open(way, command.head["begin"], command.head["end"]))
            return Frame({"ready": True})
        self.log.append(f"{self.rank} runs {command.head['batch']}")
        if self.dies_after is not None:
            self.dies_after -= 1
        assert self._service is not None
        stream = io.BytesIO()
        write_frame(stream, *self._service.answer(command))
        stream.seek(0)
        answer = read_frame(stream)
        assert answer is not None
        return answer


def make_crew(ranks: int, open_model: OpenModel, log: list[str] | None = None) -> Any:
    """A crew of so many ranks, this one too."""
    news = threading.Event()
    log = [] if log is None else log
    seats = [SimpleNamespace(rank=rank, where="this machine", numbers=range(ranks)) for rank in range(ranks)]
    mates = [StageMate(rank, open_model, news, log) for rank in range(1, ranks)]
    crew = SimpleNamespace(mates=mates, news=news, seats=seats, size=ranks)
    crew.drop = mates.remove
    crew.close = mates.clear
    crew.describe_size = lambda: f"{len(mates) + 1} ranks"
    return crew


def make_pipeline(way: Scorer, open_model: OpenModel, cuts: Sequence[int], log: list[str] | None = None) -> Pipeline:
    """A pipeline whose stages begin at `cuts`, of a `way` with a model of its own."""
    assert way.parts is not None
    count = len(way.parts.layers)
    stages = [
        StageSummary(rank=rank, where="here", begin=begin, end=end)
        for rank, (begin, end) in enumerate(zip(cuts, [*cuts[1:], count]))
    ]
    crew = make_crew(len(cuts), open_model, log)
    for mate, stage in zip(crew.mates, stages[1:]):
        mate.tell({"do": "stage", "begin": stage.begin, "end": stage.end, "way": describe_way(way)})
        mate.hear()
    summary = PipelineSummary(layers=count, stages=stages)
    return Pipeline(way, Stage.open(way, 0, stages[0].end), crew, summary)
