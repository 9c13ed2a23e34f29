"""Work that may hang, such as a look at a network mount, done where it holds up nothing.

A thread that has done its work waits for more: a new one takes ten milliseconds to come to its turn while a job trains,
and one that waits takes none. One that hangs is let go, and the process does not wait for it when it ends; asyncio's own
threads would keep a daemon from stopping.
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
"""What the threads without work are waiting at."""


async def run_in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`work` in a thread of its own. Raises what it raises."""
    done: Future[T] = Future()
    try:
        todo = _waiting.pop()
    except IndexError:
        todo = SimpleQueue()
        threading.Thread(target=_serve, args=(todo,), daemon=True).start()
    todo.put((done, lambda: work(*args, **kwargs)))
    return await asyncio.wrap_future(done)


def _serve(todo: SimpleQueue[Todo]) -> None:
    while True:
        done, work = todo.get()
        if not done.set_running_or_notify_cancel():
            _waiting.append(todo)
            continue
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001  # raised again in the caller
            failure = error
        del work
        _waiting.append(todo)  # before the caller goes on, who may have more to do
        if failure is None:
            done.set_result(result)
        else:
            done.set_exception(failure)
        del done, result, failure
