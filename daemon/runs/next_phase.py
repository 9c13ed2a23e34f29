"""NextPhase is a worker's end of the line on which it asks its supervisor for the phase that follows the one it has ended.

Both ends are sockets. The worker writes ENDED once its phase's outcome is in the job's folder. The supervisor writes down that
the job has moved, and answers with the name of the next phase, or closes its end: then the worker leaves. A supervisor that is
gone has closed its end too. So no phase begins that the table of jobs does not know of.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from prefd.daemon.runs.phases import PHASES, Phase

ENDED = b"ended\n"
"""What a worker writes: its phase has ended well, and it can run another."""
MOST_BYTES = 64
"""Of a message, on either side."""


class NextPhase:
    """NextPhase holds the worker's socket, which it inherits as the descriptor `descriptor`."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # a plugin's child must not hold it open
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(True)

    def wait(self) -> Phase | None:
        """Say that the phase has ended well, and wait for the name of the next; None where there is to be none."""
        answer = b""
        with suppress(ConnectionError):
            self._socket.sendall(ENDED)
            while part := self._socket.recv(MOST_BYTES):
                answer += part
                if answer.endswith(b"\n"):
                    break
        name = answer.decode("ascii", "replace").removesuffix("\n")
        return next((phase for phase in PHASES if phase == name), None)
