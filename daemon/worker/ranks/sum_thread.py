"""SumThread runs MLX's collectives in a thread of its own, so that the training loop, which waits for one, may give up.

A rank on another machine that is stopped, or whose cable is pulled, ends no connection: MLX waits for it without an end, and nobody
here can kill it. The thread is left waiting then, and ends with its process; MLX's other streams go on meanwhile.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import mlx.core as mx
import numpy as np

from prefd.daemon.worker.ranks.frames import Array

LOOK_SECONDS = 0.2
Collective = Callable[[mx.array, Any], mx.array]
"""Takes an array and the stream to run on."""


class GivenUp(Exception):
    """GivenUp is raised in place of a result that nobody waits for any more."""


class SumThread:
    """SumThread is the thread. `lost` is set where a result is not to be waited for any longer; `is_on_cpu`: what its stream runs on."""

    def __init__(self, lost: threading.Event, is_on_cpu: bool = True) -> None:
        self._lost = lost
        self._is_on_cpu = is_on_cpu
        self._tasks: queue.SimpleQueue[tuple[Collective, Array, Future[Array]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="sums", daemon=True).start()

    def run(self, collective: Collective, array: mx.array) -> mx.array:
        """Return the result for an array that is evaluated. Raises GivenUp, and what MLX raises."""
        future: Future[Array] = Future()
        self._tasks.put((collective, np.array(array), future))  # a stream, and what is computed on it, is one thread's
        while not self._lost.is_set():
            try:
                return mx.array(future.result(LOOK_SECONDS))
            except TimeoutError:
                continue
        raise GivenUp

    def _work(self) -> None:
        stream = mx.new_stream(mx.cpu if self._is_on_cpu else mx.default_device())
        while True:
            collective, array, future = self._tasks.get()
            try:
                result = collective(mx.array(array), stream)
                mx.eval(result)
                future.set_result(np.array(result))
            except Exception as error:  # noqa: BLE001  # whatever it is, it is raised by `run`
                future.set_exception(error)
