"""LookChild puts questions about specs to a worker that stays, keeps what it has loaded, and ends when nobody asks.

One question is answered at a time, and a newer one of the same kind takes the place of the one before it: of a form that is
being typed into, only what it says now is worth an answer. Whatever the child does, its end included, is an error of the one
question, and the next starts another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from prefd.daemon.errors import PrefdError
from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config
from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.machine.interpreter import WORKER
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.catalog_listing import load_catalog
from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.timing import USUAL, Timing
from prefd.daemon.worker_tasks.inputs import LookQuestion
from prefd.daemon.worker_tasks.look_process import LookEnded, LookFailed, LookProcess

Answer = TypeVar("Answer", bound=DocumentModel)


class LookRefused(PrefdError):
    """The worker refuses what it was asked about: its data cannot be read, say. The message is its own."""

    http_status = 422


class LookSuperseded(PrefdError):
    """The question was ended by a newer one of the same kind."""

    http_status = 409


@dataclass(frozen=True)
class LookSetup:
    """LookSetup is what a child is started with; with another one, it is started anew."""

    settings: HandedSettings
    limits: WorkerLimits
    catalog: Catalog | None = None
    """The losses as they are now: a plugin that has changed brings others, or the same ones anew."""


def read_setup(home: Home) -> LookSetup:
    """Read what a child is started with now. Raises `ConfigError` and `CatalogError`."""
    config, catalog = Config.load(home), load_catalog(home)
    return LookSetup(HandedSettings.from_config(config, home, catalog.failures), config.worker, catalog)


@dataclass(eq=False)
class _Turn:
    """The place of one question among those that wait."""

    superseded: asyncio.Event = field(default_factory=asyncio.Event)


class LookChild:
    """Asks a look child of `home`, which it starts when it is asked first. All of it belongs to one event loop."""

    def __init__(
        self,
        home: Home,
        worker: Sequence[str] = WORKER,
        timing: Timing = USUAL,
        read_setup: Callable[[Home], LookSetup] = read_setup,
    ) -> None:
        self.home = home
        self.worker = worker
        self.timing = timing
        self.read_setup = read_setup
        self._child: LookProcess | None = None
        self._setup: LookSetup | None = None
        self._lock = asyncio.Lock()
        self._newest: dict[str, _Turn] = {}
        self._numbers = count(1)
        self._is_stopped = False

    @property
    def pid(self) -> int | None:
        """Return the child's process id; None where none runs."""
        return self._child.process.pid if self._child is not None and self._child.runs else None

    async def ask(self, question: LookQuestion, answer: type[Answer]) -> Answer:
        """Ask, and wait for the answer.

        Raises `LookRefused` with the worker's sentence, `LookSuperseded` for a newer question, `LookFailed` where the child
        ended, `ConfigError` and `CatalogError` where none can be started.
        """
        turn = _Turn()
        if (older := self._newest.get(question.kind)) is not None:
            older.superseded.set()
        self._newest[question.kind] = turn
        try:
            async with self._lock:
                document = await self._ask_twice(question, turn)
        finally:
            if self._newest.get(question.kind) is turn:
                del self._newest[question.kind]
        if document.get("superseded"):
            raise LookSuperseded(str(document["error"]))
        if "error" in document:
            raise LookRefused(str(document["error"]))
        return answer.model_validate(document["answer"])

    def stop(self) -> None:
        """Give up what is being answered, at once, and answer nothing more: each question raises `LookFailed`."""
        self._is_stopped = True
        if self._child is not None:
            self._child.kill("prefd ends")

    async def close(self) -> None:
        """End the child, if one runs."""
        if self._child is not None:
            await self._child.close()
            self._child = None

    async def _ask_twice(self, question: LookQuestion, turn: _Turn) -> dict[str, Any]:
        """Ask; and once more, another child, where the first ended for want of questions just then."""
        with suppress(LookEnded):
            return await self._ask_once(question, turn)
        return await self._ask_once(question, turn)

    async def _ask_once(self, question: LookQuestion, turn: _Turn) -> dict[str, Any]:
        _check_turn(turn)
        child = await self._provide_child()
        _check_turn(turn)
        superseded = asyncio.ensure_future(turn.superseded.wait())
        try:
            future = await child.ask(next(self._numbers), question.kind, question.model_dump(mode="json"))
            both: set[asyncio.Future[Any]] = {future, superseded}
            await asyncio.wait(both, timeout=self.timing.look_answer, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            if not superseded.done():
                child.kill(f"it took longer than {self.timing.look_answer:g} s over a question of kind {question.kind}")
                return await future
            child.interrupt()
            await asyncio.wait({future}, timeout=self.timing.look_interruption)
            if not future.done():
                child.kill("it did not leave a question that nobody asks any more")
            _check_turn(turn)
            return await future
        except asyncio.CancelledError:
            child.interrupt()
            raise
        finally:
            superseded.cancel()

    async def _provide_child(self) -> LookProcess:
        """Return the child that runs, or another where its settings have changed or it has ended."""
        setup = await asyncio.to_thread(self.read_setup, self.home)
        if self._child is not None and self._child.runs and setup == self._setup:
            return self._child
        await self.close()
        if self._is_stopped:
            raise LookFailed("there is no worker that looks at specs any more: prefd ends")
        self._child = await LookProcess.start(self.home, self.worker, setup.settings, setup.limits, self.timing)
        self._setup = setup
        return self._child


def _check_turn(turn: _Turn) -> None:
    if turn.superseded.is_set():
        raise LookSuperseded("a newer question took its place")


__all__ = ["LookChild", "LookFailed", "LookRefused", "LookSetup", "LookSuperseded", "read_setup"]
