"""A look child answers line by line, whatever a question is, and ends when none comes."""

from __future__ import annotations

import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.look import serving
from prefd.daemon.worker.look.serving import Interruption, answer_line, read_lines, serve


def line(kind: str, **question: Any) -> bytes:
    return json.dumps({"id": 7, "kind": kind, "question": question}).encode()


@pytest.fixture
def interruption() -> Any:
    before = signal.getsignal(signal.SIGUSR1)
    stop = Interruption()
    stop.install()
    yield stop
    signal.signal(signal.SIGUSR1, before)


def test_questions_are_answered_in_turn_until_the_pipe_ends(home: Path, interruption: Interruption) -> None:
    reading, writing = os.pipe()
    os.write(writing, line("curve", name="sigmoid", points=2) + b"\n" + line("curve", name="nothing") + b"\n")
    os.close(writing)
    answers = io.StringIO()
    serve(Home(home), reading, answers, 60)
    os.close(reading)
    ready, good, bad = map(json.loads, answers.getvalue().splitlines())
    assert ready == {"id": 0}
    assert good["answer"]["z"] == [-10, 10]
    assert bad["id"] == 7
    assert "no loss is called 'nothing'" in bad["error"]


def test_a_signal_ends_the_question_and_no_other(interruption: Interruption) -> None:
    def ask_for_ever(_: Any) -> dict[str, Any]:
        while True:
            os.kill(os.getpid(), signal.SIGUSR1)

    os.kill(os.getpid(), signal.SIGUSR1)  # of a question that was answered meanwhile
    interruption.forget()
    assert answer_line({"slow": ask_for_ever}, line("slow"), interruption)["superseded"]
    assert answer_line({"quick": lambda _: {"a": 1}}, line("quick"), interruption) == {"id": 7, "answer": {"a": 1}}


def test_a_signal_between_reading_a_question_and_answering_it_counts(interruption: Interruption) -> None:
    os.kill(os.getpid(), signal.SIGUSR1)
    assert answer_line({"quick": lambda _: {"a": 1}}, line("quick"), interruption)["superseded"]


def test_an_error_is_an_answer(interruption: Interruption) -> None:
    def fail(error: Exception) -> Any:
        def answer(_: Any) -> dict[str, Any]:
            raise error

        return answer

    kinds = {"expected": fail(JobError("the data is gone")), "fault": fail(ZeroDivisionError("by zero"))}
    assert answer_line(kinds, line("expected"), interruption)["error"] == "the data is gone"
    assert answer_line(kinds, line("fault"), interruption)["error"] == "ZeroDivisionError: by zero"


def test_it_ends_when_no_question_has_come_for_a_while() -> None:
    reading, writing = os.pipe()
    os.write(writing, b'{"half": ')
    assert list(read_lines(reading, 0.01)) == []
    os.write(writing, b'1}\n{"whole": 2}\n')
    assert list(read_lines(reading, 0.01))[-1] == b'{"whole": 2}'
    os.close(writing)
    os.close(reading)


def test_every_kind_of_question_has_an_answerer(home: Path) -> None:
    kept_data = serving.KeptData(Home(home))
    assert sorted(serving.list_kinds(kept_data)) == [
        "curve",
        "needs",
        "pair-comparison",
        "pairs",
        "preview",
        "rows",
        "xray",
    ]
