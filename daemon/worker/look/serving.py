"""Answers one question after the other, each a line of JSON, until none has come for a while or the asking process has gone.

SIGUSR1 ends the question that is being answered: its asker has a newer one. Anything else that goes wrong with a question is its
answer, and the next one is taken.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from prefd.daemon.errors import EXPECTED
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.pair_comparison import compare_pairs
from prefd.daemon.runs.pair_files import PairFiles
from prefd.daemon.runs.pair_table import read_page
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.look.curve import compute_curve
from prefd.daemon.worker.look.kept_data import KeptData
from prefd.daemon.worker.look.needs import find_needs
from prefd.daemon.worker.look.rows import show_rows
from prefd.daemon.worker.preview import preview_job
from prefd.daemon.worker_tasks.inputs import PreviewInput
from prefd.daemon.worker_tasks.looks import (
    READY,
    CurveQuestion,
    NeedsQuestion,
    PairComparisonQuestion,
    PairsQuestion,
    RowsQuestion,
)
from prefd.daemon.worker_tasks.xrays import XRayInput
from prefd.plugins.errors import describe_exception

log = logging.getLogger(__name__)

SUPERSEDED = "a newer question took its place"
READ_BYTES = 2**16


class Superseded(BaseException):
    """The question that is being answered is not to be answered any more. No `except Exception` of a plugin holds it up."""


@dataclass
class Interruption:
    """Interruption raises `Superseded` at SIGUSR1 while a question is being answered; where it is only about to be, at its beginning."""

    answering: bool = False
    requested: bool = False

    def install(self) -> None:
        """Take the signal from now on."""
        signal.signal(signal.SIGUSR1, self._interrupt)

    def forget(self) -> None:
        """Forget a signal that was about a question which has been answered meanwhile."""
        self.requested = False

    def begin(self) -> None:
        """Begin to answer. Raises `Superseded` where the signal came before."""
        self.answering = True
        if self.requested:
            raise Superseded

    def end(self) -> None:
        """Note that nothing is being answered any more."""
        self.answering = self.requested = False

    def _interrupt(self, number: int, frame: object) -> None:
        if self.answering:
            self.answering = False
            raise Superseded
        self.requested = True


def serve(home: Home, questions: int, answers: TextIO, idle_s: float) -> None:
    """Answer the questions that come on the descriptor `questions`, until it ends or none has come for `idle_s` seconds."""
    interruption = Interruption()
    interruption.install()
    kept_data = KeptData(home)
    kinds = list_kinds(kept_data)
    print(json.dumps({"id": READY}), file=answers, flush=True)
    for line in read_lines(questions, idle_s, interruption.forget):
        document = answer_line(kinds, line, interruption)
        print(json.dumps(document), file=answers, flush=True)


def list_kinds(kept_data: KeptData) -> dict[str, Callable[[Any], dict[str, Any]]]:
    """List what answers each kind of question."""
    return {
        NeedsQuestion.kind: lambda value: find_needs(
            kept_data.make_job(NeedsQuestion.model_validate(value).spec)
        ).to_json(),
        RowsQuestion.kind: lambda value: _show_rows(kept_data, RowsQuestion.model_validate(value)),
        CurveQuestion.kind: lambda value: compute_curve(
            kept_data.plugins, CurveQuestion.model_validate(value)
        ).to_json(),
        PairComparisonQuestion.kind: lambda value: _compare_pairs(
            kept_data.home, PairComparisonQuestion.model_validate(value)
        ),
        PairsQuestion.kind: lambda value: _show_pairs(kept_data.home, PairsQuestion.model_validate(value)),
        PreviewInput.kind: lambda value: _preview(kept_data, PreviewInput.model_validate(value)),
        XRayInput.kind: lambda value: _examine(kept_data, XRayInput.model_validate(value)),
    }


def _compare_pairs(home: Home, question: PairComparisonQuestion) -> dict[str, Any]:
    comparison = compare_pairs(home, question.jobs)
    if comparison is None:
        raise JobError(f"the pairs of jobs {question.jobs[0]} and {question.jobs[1]} are not both scored yet")
    return comparison.to_json()


def _show_pairs(home: Home, question: PairsQuestion) -> dict[str, Any]:
    files = PairFiles(RunDir(home.job(question.job), question.ulid))
    state = files.read_state(question.job)
    return read_page(files, state, question.order, question.only, question.offset, question.limit).to_json()


def _preview(kept_data: KeptData, question: PreviewInput) -> dict[str, Any]:
    return preview_job(kept_data.make_job(question.spec), question).to_json()


def _examine(kept_data: KeptData, question: XRayInput) -> dict[str, Any]:
    from prefd.daemon.worker.xray.examination import examine_job  # here: few questions need what it imports

    return examine_job(kept_data.make_job(question.spec), question).to_json()


def _show_rows(kept_data: KeptData, question: RowsQuestion) -> dict[str, Any]:
    return show_rows(kept_data.make_job(question.spec), question).to_json()


def answer_line(
    kinds: Mapping[str, Callable[[Any], dict[str, Any]]], line: bytes, interruption: Interruption
) -> dict[str, Any]:
    """Answer the question in `line`: its id with the answer, or with what is wrong in a sentence."""
    request = json.loads(line)
    try:
        try:
            interruption.begin()
            document = _answer(kinds[request["kind"]], request["question"])
        finally:
            interruption.end()
    except Superseded:
        document = {"superseded": True, "error": SUPERSEDED}
    return {"id": request["id"], **document}


def _answer(answer_question: Callable[[Any], dict[str, Any]], question: Any) -> dict[str, Any]:
    try:
        return {"answer": answer_question(question)}
    except EXPECTED as error:
        return {"error": str(error)}
    except Exception as error:
        log.exception("a question that cannot be answered")
        return {"error": describe_exception(error)}


def read_lines(descriptor: int, idle_s: float, before_read: Callable[[], None] = lambda: None) -> Iterator[bytes]:
    """Yield the lines that come on `descriptor`, until it ends or nothing has come for `idle_s` seconds.

    `before_read`: called when there is something, before it is read.
    """
    rest = b""
    while select.select([descriptor], [], [], idle_s)[0]:
        before_read()
        piece = os.read(descriptor, READ_BYTES)
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
