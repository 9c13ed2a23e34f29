"""Channel is a rank's pipe to the first rank: commands come in, answers go out, and its end ends this process at once."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

from prefd.daemon.worker.ranks.frames import Array, BrokenFrame, Frame, read_frame, write_frame

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0


class Channel:
    """Channel reads commands in a thread, so that the end of the pipe is noticed while this process computes or waits for a sum.

    `silence`: where the first rank is on another machine, it is taken for lost after so many seconds in which nothing came.
    """

    def __init__(
        self,
        commands: IO[bytes],
        answers: IO[bytes],
        leave: Callable[[int], object] = os._exit,
        silence: float | None = None,
    ) -> None:
        self._commands = commands
        self._answers = answers
        self._leave = leave
        self._frames: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._writing = threading.Lock()
        self._heard_at = time.monotonic()
        threading.Thread(target=self._listen, name="commands", daemon=True).start()
        if silence is not None:
            threading.Thread(target=self._watch, args=(silence,), name="silence", daemon=True).start()

    def wait(self) -> Frame:
        """Wait for the next command."""
        return self._frames.get()

    def answer(self, head: Mapping[str, Any], arrays: Sequence[Array] = ()) -> None:
        """Answer a command."""
        with self._writing:
            write_frame(self._answers, head, arrays)

    def beat(self) -> None:
        """Say that this rank is at work."""
        self.answer({"beat": True})

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Say so again and again during the block, which loads something and cannot do it itself."""
        ended = threading.Event()

        def work() -> None:
            while not ended.wait(BEAT_SECONDS):
                self.beat()

        thread = threading.Thread(target=work, name="beats", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _listen(self) -> None:
        try:
            while (frame := read_frame(self._commands)) is not None:
                self._heard_at = time.monotonic()
                if "beat" not in frame.head:
                    self._frames.put(frame)
        except (BrokenFrame, OSError, ValueError):
            pass
        self._leave(0)  # nobody waits for this rank any more

    def _watch(self, silence: float) -> None:
        """Leave when nothing came for so long: nobody tells this machine that the network was cut."""
        while (left := self._heard_at + silence - time.monotonic()) > 0:
            time.sleep(min(left, BEAT_SECONDS))
        log.error("the first rank said nothing for %g s: this rank ends", silence)
        self._leave(0)
