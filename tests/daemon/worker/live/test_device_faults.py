"""A GPU that ends passes, or has no memory left, in the middle of a live session: another worker does the request again, and no client is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.errors import WorkerExit
from prefd.daemon.worker import phases
from prefd.daemon.worker.live.learner import Learner
from prefd.daemon.worker.sampling.generator import Generator
from prefd.daemon.worker_tasks.live_requests import (
    AdamParams,
    ForwardBackwardRequest,
    ForwardRequest,
    OptimStepRequest,
    SampleRequest,
    SamplingParams,
)
from support.live_sessions import LiveFolderOnDisk, StopWhenDone, make_datum, make_session

METAL = "[METAL] Command buffer execution failed: "
DATA = [make_datum([5, 6, 7, 8, 9, 10, 11])]


def ask_all(session: LiveFolderOnDisk) -> None:
    """Two steps, an answer drawn from what they made, and its loss."""
    for _ in range(2):
        session.ask(ForwardBackwardRequest, data=DATA)
        session.ask(OptimStepRequest, adam_params=AdamParams(learning_rate=1e-2))
    session.ask(SampleRequest, tokens=[5, 6, 7], params=SamplingParams(max_tokens=4, seed=1))
    session.ask(ForwardRequest, data=DATA)


def fail_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int, text: str) -> None:
    """Have a method raise at its `number`-th call, and work before and after."""
    work, calls = getattr(owner, name), list[int]()

    def run(*arguments: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == number:
            raise RuntimeError(text)
        return work(*arguments, **more)

    monkeypatch.setattr(owner, name, run)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (METAL + "Impacting Interactivity", WorkerExit.DEVICE_TROUBLE),
        pytest.param(
            METAL + "Insufficient Memory", WorkerExit.NO_MEMORY, marks=pytest.mark.thorough
        ),  # below: in pieces
    ],
)
def test_every_request_has_the_answer_that_it_would_have_had(
    home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: WorkerExit
) -> None:
    twin, session = make_session(home, tiny_model), make_session(home, tiny_model, 2)
    for each in (twin, session):
        ask_all(each)
    twin.serve()
    fail_at(monkeypatch, Learner, "compute_loss", 2, text)
    fail_at(monkeypatch, Learner, "take_step", 2, text)
    fail_at(monkeypatch, Generator, "_draw", 1, text)
    codes = []
    while not session.job.run.live.result(session.last_request).exists():
        codes.append(phases._run("live", session.job, StopWhenDone(session)))
    assert codes == [code, code, code, WorkerExit.STOPPED]
    assert session.results() == twin.results()


def test_a_prompt_runs_in_pieces_that_the_device_stands(
    home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    fill = Generator._fill

    def count(generator: Generator, model: Any, prompt: Any, caches: Any) -> None:
        fill(
            generator,
            lambda tokens, cache: (lengths.append(tokens.shape[1]), model(tokens, cache=cache)),
            prompt,
            caches,
        )  # type: ignore[arg-type]

    monkeypatch.setattr(Generator, "_fill", count)
    session = make_session(home, tiny_model, lora=None)
    for _ in range(5):
        session.job.run.batches.add_halving("device")
    prompt = [5 + index % 7 for index in range(200)]
    session.ask(SampleRequest, tokens=prompt, params=SamplingParams(max_tokens=1, seed=1))
    session.serve()
    assert session.result(1)["ok"]
    assert lengths == [64, 64, 64, 7]
