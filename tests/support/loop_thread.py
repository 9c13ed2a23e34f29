"""A server in this process: a coroutine in an event loop of its own thread, for tests that ask it from theirs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def running_in_thread(serve: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Runs `serve` until the end of the block, and then cancels it; what it raises by itself is raised at the end.

    A socket that it takes has to listen before the block: whoever connects then waits until it is taken.
    """
    started = threading.Event()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
    failures: list[BaseException] = []

    async def run() -> None:
        serving = asyncio.ensure_future(serve())
        running.append((asyncio.get_running_loop(), serving))
        started.set()
        with suppress(asyncio.CancelledError):
            await serving

    def run_all() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001  # raised again in the test's thread
            failures.append(error)

    thread = threading.Thread(target=run_all)
    thread.start()
    assert started.wait(60)
    try:
        yield
    finally:
        ((loop, serving),) = running
        with suppress(RuntimeError):  # the loop is closed: it has ended by itself
            loop.call_soon_threadsafe(serving.cancel)
        thread.join()
    for failure in failures:
        raise failure
