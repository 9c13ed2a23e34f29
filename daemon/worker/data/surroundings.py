"""Hides from a chat template that is Python code the environment, its process, the machine and entropy.

A job's two phases run in two processes, and its cache may be shared with other machines: what a template reads there would
make other tokens of the same rows. So the thread that renders finds an empty environment, a process 1 in the folder "/", no
name of a machine, and the job's own draws for entropy. Every other thread sees what is there.
"""

from __future__ import annotations

import os
import platform
import random
import socket
import sys
from collections.abc import Callable, Iterator, MutableMapping
from threading import get_ident
from types import ModuleType
from typing import Any

IMPORTING = "importlib._bootstrap"
OWN = "prefd."
NOWHERE = os.uname_result(("",) * 5) if hasattr(os, "uname_result") else None
"""What `os.uname` gives of no machine."""
UNNAMED = ("machine", "node", "platform", "processor", "release", "system", "version")
"""Functions of `platform`, each of which gives "" where it cannot tell."""


class Asker:
    """Tells whether it is a template that asks, or anybody else in the process."""

    def __init__(self) -> None:
        self.thread: int | None = None
        """The id of the thread that renders now."""

    def is_template(self) -> bool:
        """Says whether the thread that renders asks, and not within an import: a module keeps what it reads then."""
        return self.thread == get_ident() and not _is_importing()

    def choose(self, real: Callable[..., Any], still: Callable[..., Any]) -> Callable[..., Any]:
        """Makes a function that answers a template with `still`, and everybody else with `real`."""
        return lambda *arguments, **keywords: (still if self.is_template() else real)(*arguments, **keywords)


class StillEnvironment(MutableMapping[Any, Any]):
    """StillEnvironment is an environment that is empty to a template and keeps nothing that it writes; to others it is the real one."""

    def __init__(self, real: MutableMapping[Any, Any], is_template: Callable[[], bool]) -> None:
        self._real = real
        self._is_template = is_template

    def _visible(self) -> MutableMapping[Any, Any]:
        return {} if self._is_template() else self._real

    def __getitem__(self, name: Any) -> Any:
        return self._visible()[name]

    def __setitem__(self, name: Any, value: Any) -> None:
        self._visible()[name] = value

    def __delitem__(self, name: Any) -> None:
        del self._visible()[name]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._visible())

    def __len__(self) -> int:
        return len(self._visible())

    def copy(self) -> dict[Any, Any]:
        """Copies the environment that the caller sees."""
        return dict(self._visible())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def still_surroundings(asker: Asker, on_question: Callable[[], None]) -> dict[ModuleType, dict[str, Any]]:
    """Makes the stand-in for each name, by module. `on_question` is called whenever a template has asked for one."""

    def note_question() -> bool:
        is_template = asker.is_template()
        if is_template:
            on_question()
        return is_template

    def constant(real: Callable[..., Any], value: Any) -> Callable[..., Any]:
        return lambda *arguments, **keywords: value if note_question() else real(*arguments, **keywords)

    def draw_bytes(real: Callable[..., bytes]) -> Callable[..., bytes]:
        return asker.choose(real, lambda size, flags=0: random.randbytes(size))

    environments = {
        name: StillEnvironment(getattr(os, name), note_question)
        for name in ("environ", "environb")
        if hasattr(os, name)
    }
    process = {"getpid": 1, "getppid": 0, "getuid": 0, "getcwd": "/", "getcwdb": b"/", "getlogin": "", "uname": NOWHERE}
    entropy = {name: draw_bytes(getattr(os, name)) for name in ("urandom", "getrandom") if hasattr(os, name)}
    return {
        os: {**environments, **_constants(os, process, constant), **entropy},
        random: {"_urandom": draw_bytes(os.urandom)},
        platform: _constants(platform, dict.fromkeys(UNNAMED, "") | {"uname": NOWHERE}, constant),
        socket: _constants(socket, {"gethostname": "localhost", "getfqdn": "localhost"}, constant),
    }


def _constants(
    module: ModuleType, values: dict[str, Any], constant: Callable[[Callable[..., Any], Any], Any]
) -> dict[str, Any]:
    """A function for each name of `module` that there is on this system."""
    return {name: constant(getattr(module, name), value) for name, value in values.items() if hasattr(module, name)}


def _is_importing() -> bool:
    """Says whether a module is imported between the template's call and here."""
    frame, is_past_template = sys._getframe(1), False
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if name == IMPORTING:
            return True
        if not name.startswith(OWN):
            is_past_template = True
        elif is_past_template:
            return False  # the code that renders is reached, and no import lies between
        frame = frame.f_back  # type: ignore[assignment]
    return False
