"""Crew is the other ranks of a job, as its worker sees them: it tells them what to do, and says who was lost and why.

The end of a rank's input is its lifeline: however this process ends, the others end at once.
"""

from __future__ import annotations

import logging
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prefd.daemon.worker.ranks.channel import BEAT_SECONDS
from prefd.daemon.worker.ranks.mate import CAUSE_SECONDS, LostRank, Mate
from prefd.daemon.worker.ranks.meeting import Meeting, find_neighbour
from prefd.daemon.worker.ranks.ring import LostRing, Ring
from prefd.daemon.worker.ranks.ring_place import RingPlace
from prefd.daemon.worker.ranks.seats import Seat, list_ips

log = logging.getLogger(__name__)

START_SECONDS = 60
"""For all ranks to find each other, once each has loaded what it needs."""
LOOK_SECONDS = 0.5
LEAVE_SECONDS = 2.0


class Crew:
    """Crew is all other ranks of a job; this process is rank 0. `timeout`: nobody may say nothing for so many seconds."""

    def __init__(self, mates: Sequence[Mate], timeout: float, seats: Sequence[Seat], backend: str = "ring") -> None:
        self.mates = list(mates)
        self.timeout = timeout
        self.seats = seats
        self.backend = backend
        self.ring: Ring | None = None
        self.cause = ""
        """Why the first of the ranks that were ended here was."""
        self._lost = threading.Event()
        """Set where a sum of several machines is waited for no longer."""
        self._summing_since: float | None = None
        self._closed = threading.Event()
        self.news = threading.Event()
        """Set when any rank has answered, or ended."""
        for mate in self.mates:
            mate.news = self.news
        threading.Thread(target=self._watch, name="ranks-watch", daemon=True).start()
        if self.is_far:
            threading.Thread(target=self._beat, name="ranks-beats", daemon=True).start()

    @property
    def size(self) -> int:
        """Return how many ranks there are, this one too."""
        return len(self.mates) + 1

    @property
    def is_far(self) -> bool:
        """Return whether any rank is on another machine."""
        return any(mate.seat.name for mate in self.mates)

    def describe_size(self) -> str:
        """Say how many ranks there are, and on which machines, where they are on several."""
        names = list(dict.fromkeys(mate.seat.name for mate in self.mates if mate.seat.name))
        return f"{self.size} ranks" + (f", here and on {', '.join(names)}" if names else "")

    def drop(self, mate: Mate) -> None:
        """Go on without a rank."""
        self.mates.remove(mate)
        end_mates([mate])

    def join_ring(self) -> None:
        """Make a ring of all ranks. Raises LostRank, where one cannot reach the next too."""
        addresses = self._meet()
        place = RingPlace(0, addresses, secrets.token_hex(16), self.backend, self._list_rdma(), self.is_far)
        for mate in self.mates:
            mate.tell({"do": "join", "place": place.seen_by(mate.rank).to_json()})
        listed = ", ".join(each for rank in addresses for each in rank)
        log.info("ranks: joining %s; where that takes %d s, this worker ends", listed, START_SECONDS)
        with self._explained():
            self.ring = Ring.join(place, START_SECONDS, self._lost if self.is_far else None)
        for mate in self.mates:
            mate.hear()

    def _meet(self) -> tuple[tuple[str, ...], ...]:
        """Find an address for each rank at which nothing listens, and on which the one before it reaches it. Raises LostRank."""
        ips = list_ips(self.seats)
        with Meeting(ips[0]) as meeting:
            for mate in self.mates:
                mate.tell({"do": "meet", "ips": list(ips[mate.rank])})
            met = [meeting.addresses, *(tuple(mate.hear().head["addresses"]) for mate in self.mates)]
            for mate in self.mates:
                mate.tell({"do": "look", "at": list(met[(mate.rank + 1) % self.size])})
            troubles = [find_neighbour(met[1 % self.size]), *(mate.hear().head["trouble"] for mate in self.mates)]
            for mate in self.mates:
                mate.tell({"do": "part"})
            for mate in self.mates:
                mate.hear()
        for rank, trouble in enumerate(troubles):
            if trouble:
                other = (rank + 1) % self.size
                raise LostRank(
                    f"rank {rank} ({self.seats[rank].where}) cannot reach rank {other} ({self.seats[other].where}): {trouble}; look at "
                    "the ips in [distributed], and at the firewall there: it has to let Python take connections"
                )
        return tuple(met)

    def _list_rdma(self) -> tuple[Sequence[object], ...]:
        return tuple(seat.host.rdma if seat.host else [] for seat in self.seats)

    @contextmanager
    def summing(self) -> Iterator[Ring]:
        """Give the ring for one sum in the block. Raises LostRank where it breaks, with what it broke of."""
        assert self.ring is not None
        self._summing_since = time.monotonic()
        try:
            with self._explained():
                yield self.ring
        finally:
            self._summing_since = None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except LostRing as error:
            raise LostRank(self._find_cause(str(error))) from error

    def _find_cause(self, error: str) -> str:
        """Find whose end broke the ring: the first to have ended by itself; the others' are consequences."""
        deadline = time.monotonic() + CAUSE_SECONDS
        while time.monotonic() < deadline:
            if self.cause:
                return self.cause
            victims = [mate for mate in self.mates if mate.is_victim]
            if victims:
                return min(victims, key=lambda mate: (mate.process.returncode >= 0, mate.rank)).describe_end()
            time.sleep(0.02)
        ended = [mate for mate in self.mates if mate.process.poll() is not None]
        return ended[0].describe_end() if ended else error

    def _watch(self) -> None:
        """End ranks that say nothing any more, so that nobody waits for them without an end."""
        while not self._closed.wait(min(LOOK_SECONDS, self.timeout / 4)):
            now = time.monotonic()
            silent = [mate for mate in self.mates if mate.is_awaited and now - mate.heard_at > self.timeout]
            summing = self._summing_since
            if silent and (summing is None or now - summing > min(self.timeout, LOOK_SECONDS)):
                for mate in silent:
                    self._end([mate], f"{mate.name} said nothing for {self.timeout:g} s")
            elif summing is not None and now - summing > self.timeout:
                self._end(self.mates, f"the ranks' sum did not come within {self.timeout:g} s")
            if any(mate.seat.name and mate.process.poll() is not None for mate in self.mates):
                self._lost.set()  # its connections may seem to be there for long

    def _beat(self) -> None:
        """Let ranks of other machines know that this process is there: nobody tells them when a network is cut."""
        while not self._closed.wait(BEAT_SECONDS):
            for mate in list(self.mates):
                if mate.seat.name:
                    mate.beat()

    def _end(self, mates: Sequence[Mate], cause: str) -> None:
        self.cause = self.cause or cause
        for mate in mates:
            if mate.process.poll() is None:
                log.error("%s: it is ended", cause)
                mate.cause = mate.cause or cause
                mate.process.kill()

    def close(self) -> None:
        """End the other ranks: they end by themselves when nobody speaks to them any more, or are killed."""
        self._closed.set()
        end_mates(self.mates)


def end_mates(mates: Sequence[Mate]) -> None:
    """End these ranks."""
    for mate in mates:
        mate.close_input()
    deadline = time.monotonic() + LEAVE_SECONDS
    for mate in mates:
        try:
            mate.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            mate.process.kill()
            mate.process.wait()
