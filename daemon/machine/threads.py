"""`run_in_thread` does work that may hang, such as a look at a network mount, without blocking the event loop.

A thread that has done its work waits for more: a new thread takes ten milliseconds to start while a job trains, a waiting
one none. A thread that hangs is abandoned, and the process does not wait for it at its end; asyncio's own threads would
keep a daemon from stopping.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Todo = tuple[Future[Any], Callable[[], Any]]

_waiting: deque[SimpleQueue[Todo]] = deque()
"""The queues at which the idle threads wait."""


async def run_in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `work` in a thread of its own, and return or raise what it does."""
    future: Future[T] = Future()
    try:
        todo = _waiting.pop()
    except IndexError:
        todo = SimpleQueue()
        threading.Thread(target=_serve, args=(todo,), daemon=True).start()
    todo.put((future, lambda: work(*args, **kwargs)))
    return await asyncio.wrap_future(future)


def _serve(todo: SimpleQueue[Todo]) -> None:
    """Do the work that is put into the queue, one after the other, for ever."""
    while True:
        future, work = todo.get()
        if not future.set_running_or_notify_cancel():
            _waiting.append(todo)
            continue
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # raised again in the caller
            failure = error
        del work
        _waiting.append(todo)  # before the caller goes on, which may have more work
        if failure is None:
            future.set_result(result)
        else:
            future.set_exception(failure)
        del future, result, failure
