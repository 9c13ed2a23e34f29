"""A rank runs its batches while it says that it is at work: on a processor one may take longer than a rank may say nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.ranks.frames import Frame
from prefd.daemon.worker.ranks.pairs import pack_completions
from prefd.daemon.worker.ranks.stage_service import StageService
from prefd.daemon.worker.reference.scored_batches import score_batches
from prefd.daemon.worker.reference.scoring_pass import ReferencePass
from prefd.daemon.worker.reference.stage_batches import run_stage
from prefd.daemon.worker.scoring.choose import choose_apart
from prefd.daemon.worker.scoring.stage import describe_way
from support.jobs_on_disk import make_job

BATCH = pack_completions([Completion(np.arange(1, 20, dtype=np.uint32), 5)])


class End(Exception):
    """The first rank says no more."""


class Line:
    """A channel whose commands are there already; it notes the answers."""

    def __init__(self, *commands: Frame) -> None:
        self.commands = list(commands)
        self.answers: list[Mapping[str, Any]] = []
        self.beats = False

    def wait(self) -> Frame:
        if not self.commands:
            raise End
        return self.commands.pop(0)

    def answer(self, head: Mapping[str, Any], arrays: Sequence[Any] = ()) -> None:
        self.answers.append({**head, "arrays": len(arrays)})

    @contextmanager
    def beating(self) -> Iterator[None]:
        self.beats = True
        yield
        self.beats = False


@pytest.mark.usefixtures("known_bits")
@pytest.mark.parametrize("kind", ["stage", "score"])
def test_it_says_so_while_it_computes(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    job = make_job(home, model=str(tiny_model), data={"path": str(pairs_file)})
    beats: list[bool] = []
    for owner, name in ((StageService, "answer"), (ReferencePass, "score_completions")):
        own = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *values, own=own: (beats.append(line.beats), own(*values))[1])
    if kind == "stage":
        way = describe_way(choose_apart(lambda: loading.load_lazily(job.reference).freeze()))
        line = Line(Frame({"do": "run", "batch": [0, 7], "way": way, "states": []}, BATCH))
        with pytest.raises(End):
            run_stage(job, line, Frame({"do": "stage", "begin": 0, "end": 1, "way": way}))  # type: ignore[arg-type]
        ready, answer = line.answers
        assert answer["batch"] == [0, 7]
        assert len(answer["states"]) == answer["arrays"] > 0
    else:
        line = Line(Frame({"do": "score"}, BATCH))
        with pytest.raises(End):
            score_batches(job, line, Frame({"do": "score", "halvings": 0}))  # type: ignore[arg-type]
        ready, answer = line.answers
        assert (answer["scored"], answer["arrays"]) == (1, 1)
    assert ready["ready"]
    assert beats == [True]
