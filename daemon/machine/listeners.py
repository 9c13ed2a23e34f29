"""Listeners sets the events that wait for news of a subject, so that nothing has to look again and again.

An event is anything with `set()`: asyncio's own takes 40 ms to import, and listing jobs needs none of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

Subject = TypeVar("Subject", bound=Hashable)


class Settable(Protocol):
    """Settable is anything that can be set, such as an asyncio.Event."""

    def set(self) -> None:
        """Wake the one that waits."""
        ...


class Listeners(Generic[Subject]):
    """Listeners holds the events that wait for news of each subject. Used from one thread."""

    def __init__(self) -> None:
        self._events: defaultdict[Subject, list[Settable]] = defaultdict(list)

    @contextmanager
    def listening(self, subject: Subject, event: Settable) -> Iterator[None]:
        """Have `event` set at every `tell` of `subject` inside the block."""
        self._events[subject].append(event)
        try:
            yield
        finally:
            self._events[subject].remove(event)
            if not self._events[subject]:
                del self._events[subject]

    def tell(self, subject: Subject) -> None:
        """Set the events that wait for news of `subject`."""
        for event in self._events.get(subject, ()):
            event.set()

    def tell_all(self) -> None:
        """Set every event."""
        for subject in list(self._events):
            self.tell(subject)
