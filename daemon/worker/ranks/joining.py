"""Joining leads a rank that is not the first into the ring, as the first one tells it, step by step.

meet: listen on a free port. look: try the next rank's. part: listen no more, as MLX is to. join: join the ring there.
"""

from __future__ import annotations

from contextlib import ExitStack

from prefd.daemon.worker.ranks.channel import Channel
from prefd.daemon.worker.ranks.frames import Frame
from prefd.daemon.worker.ranks.meeting import Meeting, find_neighbour
from prefd.daemon.worker.ranks.ring import Ring
from prefd.daemon.worker.ranks.ring_place import RingPlace

JOIN_SECONDS = 60


class Joining:
    """Joining has the ring, once it is joined."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.ring: Ring | None = None
        self.rank = 0
        self._meeting = ExitStack()

    def follow(self, command: Frame) -> bool:
        """Do what `command` asks for, where it is about joining; return whether it was. Raises LostRing."""
        head = command.head
        match head["do"]:
            case "meet":
                meeting = self._meeting.enter_context(Meeting(head["ips"]))
                self.channel.answer({"addresses": meeting.addresses})
            case "look":
                self.channel.answer({"trouble": find_neighbour(head["at"])})
            case "part":
                self._meeting.close()
                self.channel.answer({"parted": True})
            case "join":
                place = RingPlace.from_json(head["place"])
                self.ring, self.rank = Ring.join(place, JOIN_SECONDS), place.rank
                self.channel.answer({"joined": place.rank})
            case _:
                return False
        return True
