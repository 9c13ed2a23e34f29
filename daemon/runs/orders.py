"""Orders tell a worker that was started ahead of its job what it would have been started with: arguments, variables, a folder, descriptors."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from prefd.daemon.runs.early_words import carry_over
from prefd.daemon.runs.step_memory import STEP_MEMORY

PIECE_BYTES = 65536
DESCRIPTORS = 3


@dataclass(frozen=True)
class Orders:
    """Orders are what a worker is to do, and where.

    `lock`, `steps`: the descriptors of its job's lock and of the memory of its steps, which it keeps; `log`: that of its log.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    lock: int
    steps: int
    log: int

    def send(self, line: socket.socket) -> None:
        """Send them to the worker at the other end of `line`, which may block. Raises OSError where it is gone."""
        head = {"arguments": list(self.arguments), "environment": dict(self.environment), "folder": str(self.folder)}
        content = json.dumps(head).encode() + b"\n"
        sent = socket.send_fds(line, [content], [self.lock, self.steps, self.log])
        line.sendall(content[sent:])

    @classmethod
    def receive(cls, line: socket.socket) -> Self | None:
        """Wait for them at the worker's end of `line`; None where that ends first."""
        content, (lock, steps, log) = b"", (-1, -1, -1)
        with suppress(ConnectionError):
            while not content.endswith(b"\n"):
                piece, descriptors, _, _ = socket.recv_fds(line, PIECE_BYTES, DESCRIPTORS)
                if not piece:
                    return None
                content += piece
                if descriptors:
                    lock, steps, log = descriptors
            head = json.loads(content)
            return cls(head["arguments"], head["environment"], Path(head["folder"]), lock, steps, log)
        return None

    def settle(self) -> None:
        """Make this process one that was started so. What it has written to its standard error, a file until now, goes to the log."""
        os.environ.update(self.environment)
        os.environ[STEP_MEMORY] = str(self.steps)
        os.chdir(self.folder)
        sys.stdout.flush()
        sys.stderr.flush()
        early = sys.stderr.fileno()
        with suppress(OSError):  # a full disk is the job's to tell
            carry_over(early, self.log)
        for descriptor in (1, 2, sys.stdout.fileno(), early):
            os.dup2(self.log, descriptor, inheritable=descriptor <= 2)
        os.close(self.log)
