"""Memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
import sys

import pytest

from prefd.daemon.machine.memory import return_free_memory


def test_free_memory_is_given_back_where_the_library_can(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    class Library:
        malloc_trim = staticmethod(calls.append)

    monkeypatch.setattr(sys, "platform", "linux")
    for library in (Library(), object()):  # musl's has no such function
        monkeypatch.setattr(ctypes, "CDLL", lambda name, library=library: library)
        return_free_memory()
    assert calls == [0]
