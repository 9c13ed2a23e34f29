"""`run_child` runs one child that lists the plugins, and notes with which plugin it begins, and how it ends.

The child says which plugin it begins with before it imports it. So when it dies, or says nothing for
`Timing.plugin_import`, that plugin is the culprit.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.machine.interpreter import UTF8_STREAMS
from prefd.daemon.machine.processes import describe_exit, find_last_words, signal_group
from prefd.daemon.specs.catalog import CatalogError
from prefd.daemon.timing import USUAL, Timing

LOOK_SECONDS = 0.2
TAIL_BYTES = 20_000


@dataclass
class ChildEnd:
    """ChildEnd says how a listing child ended, and what it had said."""

    answer: Any = None
    """The catalogue, or the error, as it printed it; None where it printed neither."""
    begun: str | None = None
    """The key of the plugin that it had begun with last, prefd's own excepted."""
    following: tuple[str, ...] = ()
    """The keys of those that it had still to begin with."""
    tried: tuple[str, ...] = ()
    """The keys of all plugins that it was to import, as far as it has said."""
    overdue: float | None = None
    """The seconds of silence after which it was killed; None where it was not."""
    returncode: int | None = 0
    """None of one that has closed its output and goes on."""
    output: bytes = b""
    """What it printed and is none of its messages."""
    stderr: bytes = b""

    @property
    def was_killed(self) -> bool:
        """Say whether someone else has killed it, for its memory, say: that shows nothing wrong with a plugin."""
        return self.returncode == -signal.SIGKILL and self.overdue is None

    @property
    def cause(self) -> str:
        """Say how it ended, in words, for the plugin that it had begun with."""
        if self.begun is None:
            return f"it breaks the process that imports it: {self.last_words}"
        if self.overdue is not None:
            return f"importing it takes longer than {self.overdue:g} s: does it hang?"
        if self.returncode is None:
            return "it ends the process that imports it, or closes its output"
        return f"it ends the process that imports it ({describe_exit(self.returncode)})"

    @property
    def last_words(self) -> str:
        """Return the last line on the child's stderr that is no warning or note."""
        return find_last_words(self.stderr.decode("utf-8", "replace")) or "it said nothing"


def run_child(
    command: Sequence[str],
    settings: HandedSettings,
    cancelled: threading.Event,
    notice_silence: Callable[[ChildEnd], None] = lambda end: None,
    timing: Timing = USUAL,
) -> ChildEnd:
    """Run one child to its answer or its end; none of it is left afterwards. Raises CatalogError.

    `notice_silence`: called, at each look, while a plugin takes longer than `Timing.plugin_suspicion`.
    """
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C at the terminal is the daemon's to handle
            env=os.environ | settings.environment() | UTF8_STREAMS | {"PREFD_PARENT": str(os.getpid())},
        )
    except OSError as error:
        raise CatalogError(f"cannot run {command[0]}: {error.strerror or error}") from error
    with child:
        try:
            return _Listener(child, notice_silence, timing).listen(cancelled)
        finally:
            signal_group(child.pid, signal.SIGKILL)
            child.kill()  # where the group is not there yet


class _Listener:
    """Reads what a listing child says, until it has answered or ended, or is overdue."""

    def __init__(
        self, child: subprocess.Popen[bytes], notice_silence: Callable[[ChildEnd], None], timing: Timing
    ) -> None:
        self.child = child
        self.timing = timing
        self.end = ChildEnd()
        self.notice_silence = notice_silence
        self._begun_at = time.monotonic()
        self._rest = b""

    def listen(self, cancelled: threading.Event) -> ChildEnd:
        """Return how the child ended. Raises CatalogError once `cancelled` is set."""
        assert self.child.stdout is not None
        assert self.child.stderr is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.child.stdout, selectors.EVENT_READ, self._take_output)
            selector.register(self.child.stderr, selectors.EVENT_READ, self._take_stderr)
            is_open = True  # its stdout; whatever the child left running may hold its stderr open
            while is_open and self.end.answer is None:
                if cancelled.is_set():
                    raise CatalogError("listing the plugins was broken off")
                if (patience := self._find_exceeded_patience()) is not None:
                    self.end.overdue = patience
                    return self.end
                for key, _ in selector.select(LOOK_SECONDS):
                    if data := os.read(key.fd, 65536):
                        key.data(data)
                    else:
                        selector.unregister(key.fileobj)
                        is_open &= key.fileobj is not self.child.stdout
        self._take_line(self._rest)
        if self.end.answer is None:
            self._read_end()
        return self.end

    def _find_exceeded_patience(self) -> float | None:
        """Return the seconds that the child might be silent, and has been longer, else None. One that may hang is noticed."""
        silence = time.monotonic() - self._begun_at
        if self.end.begun is None:
            patience = self.timing.plugin_start
        else:
            patience = self.timing.plugin_import
            if silence > self.timing.plugin_suspicion:
                self.notice_silence(self.end)
        return patience if silence > patience else None

    def _take_stderr(self, data: bytes) -> None:
        self.end.stderr = (self.end.stderr + data)[-TAIL_BYTES:]

    def _take_output(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take_line(line)

    def _take_line(self, line: bytes) -> None:
        """Note what a line of the child's output says."""
        try:
            value = json.loads(line)
        except ValueError:
            self.end.output = (self.end.output + line + b"\n")[-TAIL_BYTES:]
            return
        if isinstance(value, dict) and "begin" in value:
            self.end.begun, self.end.following = value["begin"], tuple(value.get("following", ()))
            if self.end.begun is not None and not self.end.tried:
                self.end.tried = (self.end.begun, *self.end.following)
            self._begun_at = time.monotonic()
        else:
            self.end.answer = value

    def _read_end(self) -> None:
        """Note how a child ended that did not answer, and the last of its stderr."""
        try:
            self.end.returncode = self.child.wait(1.0)
        except subprocess.TimeoutExpired:
            self.end.returncode = None
            return
        assert self.child.stderr is not None
        os.set_blocking(self.child.stderr.fileno(), False)
        self._take_stderr(self.child.stderr.read() or b"")
