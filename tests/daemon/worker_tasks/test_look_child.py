"""A look child is asked one question at a time, and whatever it does costs one question and nothing else."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.machine.interpreter import WORKER
from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.timing import Timing
from prefd.daemon.worker_tasks.look_child import LookChild, LookFailed, LookRefused, LookSetup, LookSuperseded
from prefd.daemon.worker_tasks.looks import CurveQuestion, LookQuestion, LossCurve
from support.quick_timing import QUICK_TIMING

STAND_IN = """
import json, os, select, signal, sys, time

class Left(BaseException):
    pass

answering, left = [], []
def leave(*_):
    left.append(True)  # for a question that is only about to be answered
    if answering:
        raise Left

signal.signal(signal.SIGUSR1, leave)
idle = float(sys.argv[sys.argv.index("--idle") + 1])
waste = []
def answer(text):
    if text == "crash":
        print("2026-11-29 10:00:00 INFO all well", "the tokenizer is on fire", sep="\\n", file=sys.stderr, flush=True)
        os._exit(3)
    if text == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if text == "nonsense":
        print("no json", flush=True)
    if text == "hold":
        time.sleep(600)
    if text == "stubborn":
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        time.sleep(600)
    if text == "eat":
        waste.append(os.urandom(200 * 2**20))
        time.sleep(600)
    return {"text": text, "pid": os.getpid(), "environment": os.environ.get("PREFD_SETTINGS", "")}
print(json.dumps({"id": 0}), flush=True)
while select.select([0], [], [], idle)[0]:
    line = sys.stdin.readline()
    if not line:
        break
    question = json.loads(line)
    try:
        answering.append(question)
        if left:
            raise Left
        print(json.dumps({"id": question["id"]} | ({"error": "no such row"} if question["question"]["text"] == "refuse" else {"answer": answer(question["question"]["text"])})), flush=True)
    except Left:
        print(json.dumps({"id": question["id"], "superseded": True, "error": "left"}), flush=True)
    answering.clear()
    left.clear()
"""


class Saying(LookQuestion):
    """What the stand-in is to do."""

    kind: ClassVar[str] = "saying"
    text: str


class Other(Saying):
    kind: ClassVar[str] = "other"


class Said(DocumentModel):
    text: str
    pid: int
    environment: str = ""


Use = Callable[[LookChild], Awaitable[Any]]


@pytest.fixture
def ask(ready_home: Home, tmp_path: Path) -> Callable[..., Any]:
    """Runs a scene with a child of a stand-in, and ends the child."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    settings = [HandedSettings()]

    def run(scene: Use, timing: Timing = QUICK_TIMING, memory: str = "", worker: Any = None) -> Any:
        def read_setup(_: Home) -> LookSetup:
            return LookSetup(settings[0], WorkerLimits(memory=memory))

        child = LookChild(ready_home, worker or (sys.executable, str(script)), timing, read_setup)
        vars(child)["settings"] = settings

        async def play() -> Any:
            try:
                return await asyncio.wait_for(scene(child), 60)
            finally:
                await child.close()

        return asyncio.run(play())

    return run


def say(child: LookChild, text: str, kind: type[Saying] = Saying) -> Awaitable[Said]:
    return child.ask(kind(text=text), Said)


def test_one_child_answers_all_questions_and_ends_with_its_owner(ask: Callable[..., Any]) -> None:
    async def scene(child: LookChild) -> list[Said]:
        assert child.pid is None
        return [await say(child, text) for text in ("a", "b")]

    first, second = ask(scene)
    assert (first.text, second.text) == ("a", "b")
    assert first.pid == second.pid
    assert not psutil.pid_exists(first.pid)


def test_a_refusal_is_the_workers_sentence(ask: Callable[..., Any]) -> None:
    with pytest.raises(LookRefused, match="no such row"):
        ask(lambda child: say(child, "refuse"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("crash", "ended with exit code 3: the tokenizer is on fire"),
        ("segfault", "ended with SIGSEGV"),
        ("nonsense", "an answer that cannot be read"),
    ],
)
def test_a_crash_is_told_and_the_next_question_starts_another(ask: Callable[..., Any], text: str, reason: str) -> None:
    async def scene(child: LookChild) -> Said:
        with pytest.raises(LookFailed, match=reason):
            await say(child, text)
        return await say(child, "and now")

    assert ask(scene).text == "and now"


def test_a_newer_question_of_the_kind_ends_the_older_and_keeps_the_child(ask: Callable[..., Any]) -> None:
    async def scene(child: LookChild) -> list[Any]:
        pid = (await say(child, "first")).pid
        held = asyncio.ensure_future(say(child, "hold"))
        while not (child._child and child._child._asked):
            await asyncio.sleep(0.01)
        waiting = asyncio.ensure_future(say(child, "waits"))
        await asyncio.sleep(0)
        other = asyncio.ensure_future(say(child, "of another kind", Other))
        newest = asyncio.ensure_future(say(child, "newest"))
        return [pid, *await asyncio.gather(held, waiting, other, newest, return_exceptions=True)]

    pid, held, waiting, other, newest = ask(scene)
    assert isinstance(held, LookSuperseded)
    assert isinstance(waiting, LookSuperseded)
    assert (other.text, other.pid) == ("of another kind", pid)
    assert (newest.text, newest.pid) == ("newest", pid)


def test_a_child_that_does_not_leave_a_question_is_ended(ask: Callable[..., Any]) -> None:
    async def scene(child: LookChild) -> Said:
        held = asyncio.ensure_future(say(child, "stubborn"))
        while child._child is None or not child._child._asked:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # it has to have begun, to be stubborn
        newest = await say(child, "newest")
        assert isinstance((await asyncio.gather(held, return_exceptions=True))[0], LookSuperseded)
        return newest

    assert ask(scene, replace(QUICK_TIMING, look_interruption=0.2)).text == "newest"


def test_a_question_has_its_time_and_a_child_its_memory(ask: Callable[..., Any]) -> None:
    with pytest.raises(LookFailed, match=r"longer than 0\.5 s over a question of kind saying"):
        ask(lambda child: say(child, "hold"), replace(QUICK_TIMING, look_answer=0.5))
    with pytest.raises(LookFailed, match=r"it took [\d.]+ MB, and worker\.memory allows 100MB"):
        ask(lambda child: say(child, "eat"), memory="100MB")


def test_a_child_that_ended_for_want_of_questions_is_followed_by_another(ask: Callable[..., Any]) -> None:
    async def scene(child: LookChild) -> list[Said]:
        first = await say(child, "a")
        while psutil.pid_exists(first.pid) and psutil.Process(first.pid).status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.01)
        return [first, await say(child, "b")]

    first, second = ask(scene, replace(QUICK_TIMING, look_idle=0.1))
    assert second.text == "b"
    assert first.pid != second.pid


def test_what_is_being_answered_is_given_up_when_its_owner_stops(ask: Callable[..., Any]) -> None:
    async def scene(child: LookChild) -> list[Any]:
        held = asyncio.ensure_future(say(child, "hold"))
        while child._child is None or not child._child._asked:
            await asyncio.sleep(0.01)
        child.stop()
        return await asyncio.gather(held, say(child, "one more", Other), return_exceptions=True)

    assert [(type(each), "prefd ends" in str(each)) for each in ask(scene)] == [(LookFailed, True)] * 2


def test_other_settings_start_another_child(ask: Callable[..., Any]) -> None:
    async def scene(child: LookChild) -> list[Said]:
        first = await say(child, "a")
        vars(child)["settings"][0] = HandedSettings(parallel=7)
        return [first, await say(child, "b")]

    first, second = ask(scene)
    assert first.pid != second.pid
    assert json.loads(second.environment)["parallel"] == 7


def test_who_goes_away_holds_nobody_up(ask: Callable[..., Any]) -> None:
    async def scene(child: LookChild) -> Said:
        held = asyncio.ensure_future(say(child, "hold"))
        while child._child is None or not child._child._asked:
            await asyncio.sleep(0.01)
        held.cancel()
        return await say(child, "next", Other)

    assert ask(scene).text == "next"


def test_a_worker_that_cannot_be_started_is_told(ask: Callable[..., Any]) -> None:
    with pytest.raises(LookFailed, match="cannot start a worker"):
        ask(lambda child: say(child, "a"), worker=("/nowhere/python",))


@pytest.mark.slow
def test_the_real_worker_draws_a_curve(ask: Callable[..., Any]) -> None:
    async def scene(child: LookChild) -> LossCurve:
        return await child.ask(CurveQuestion(name="hinge", points=3), LossCurve)

    assert ask(scene, worker=WORKER).loss == [2.0, 1.0, 0.0]
