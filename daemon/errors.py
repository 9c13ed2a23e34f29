"""PrefdError is the base of what can be expected to go wrong; Exit and WorkerExit are the exit codes of prefd's processes.

An error that a person should read as a sentence, and not as a traceback, derives from `PrefdError`; the cache, which does
not know the daemon, has `CacheError`, and the plugins have `PluginError`. The commands, the control API and the workers
catch these three, so a new error is written down where it is raised and nowhere else.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Self

from prefd.cache.errors import CacheError
from prefd.plugins.errors import PluginError


class Exit(IntEnum):
    """Exit lists the exit codes of `prefd`, which scripts may rely on. `words` say in the help what each means."""

    words: str

    OK = 0, "ok"
    FAILED = 1, "failed"
    USAGE = 2, "usage"
    NOT_FOUND = 3, "not found"
    NO_DAEMON = 4, "daemon not running"
    JOB_FAILED = 5, "job failed"
    CHECK_FAILED = 6, "check of this machine failed"

    def __new__(cls, code: int, words: str) -> Self:
        """Makes a code with its words."""
        self = int.__new__(cls, code)
        self._value_, self.words = code, words
        return self

    @classmethod
    def list_all(cls) -> str:
        """Lists the codes with their words: `0 ok, 1 failed, …`."""
        return ", ".join(f"{code.value} {code.words}" for code in cls)


class WorkerExit(IntEnum):
    """WorkerExit lists the exit codes of a worker's phase. All but the first two are no end of the job: it goes on later."""

    DONE = 0
    FAILED = 1
    NO_NETWORK = 69
    """What the worker needs from the hub cannot be reached."""
    NOT_READY = 73
    """Something of what is installed cannot be imported: it may be being replaced."""
    NO_DEVICE = 70
    """What the settings have jobs compute on is not there, or they cannot be read."""
    NO_MEMORY = 71
    """Memory ran out. Halved batches may fit."""
    DEVICE_TROUBLE = 72
    """The GPU ended a pass, or failed, for a reason that is not the job's and passes by itself."""
    NO_ROOM = 74
    """The disk takes no more of what the worker has to write."""
    STOPPED = 75
    """The worker was told to stop, and has saved its state."""
    LOST_RANK = 76
    """Another process of the job has ended, or says nothing any more."""
    NO_FILE = 77
    """The contents of a file that the job reads are in a cloud, and have not come."""


class PrefdError(Exception):
    """PrefdError is an error whose message is for a person. Each of `lines` is a complete message.

    A subclass that has another exit code or HTTP status sets `exit_code` or `http_status`.
    """

    exit_code: Exit = Exit.FAILED
    http_status: int = 500

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines: tuple[str, ...] = lines


EXPECTED = (PrefdError, CacheError, PluginError)
"""Errors that are shown as a sentence. Any other is a fault of prefd, or of a plugin, and keeps its traceback."""
