"""A Seat says where a rank runs: on this machine or on another, and with which of the cores there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from pydantic import Field, TypeAdapter

from prefd.daemon.home.hosts import Host, is_here
from prefd.daemon.machine.cpus import keep_to_cores
from prefd.daemon.text.strict_model import SpecModel
from prefd.daemon.worker.ranks.count import share_cores

SEATS = "PREFD_RANK_SEATS"
"""What the first rank finds in its environment: where each is."""
LOOPBACK = ("127.0.0.1",)


class Seat(SpecModel):
    """Seat is the place of one rank."""

    rank: int
    here: bool = True
    """Whether it is on the first rank's machine."""
    host: Host | None = None
    """As config.toml lists it; None where it lists none."""
    numbers: Sequence[int] = ()
    """The ranks of its machine, this one too."""
    environment: Mapping[str, str] = Field(default_factory=dict)
    """What keeps it to its share of the cores, where it is here: another machine shares its own out."""

    @property
    def name(self) -> str:
        """Name the machine, where it is another: empty for this one."""
        return "" if self.here or self.host is None else self.host.ssh

    @property
    def where(self) -> str:
        """Say where it is, in words."""
        return self.name or "this machine"


ADAPTER = TypeAdapter(list[Seat])


def plan_seats(ranks: int, hosts: Sequence[Host]) -> list[Seat]:
    """Give each of so many ranks its place, in the order of the hosts."""
    if not hosts:
        numbers = list(range(ranks))
        return [
            Seat(rank=rank, numbers=numbers, environment=share)
            for rank, share in enumerate(share_cores(numbers, ranks))
        ]
    names = ["" if is_here(hosts, rank) else hosts[rank].ssh for rank in range(ranks)]
    beside = {name: [rank for rank in range(ranks) if names[rank] == name] for name in names}
    own = dict(zip(beside[""], share_cores(beside[""], ranks), strict=True))
    return [
        Seat(
            rank=rank,
            here=not name,
            host=hosts[rank],
            numbers=beside[name],
            environment=own.get(rank, {}),
        )
        for rank, name in enumerate(names)
    ]


def begin_ranks(seats: Sequence[Seat]) -> None:
    """Make this process, which has no thread yet, the first of several ranks: it keeps to its own cores, and the environment has the others'."""
    if len(seats) > 1:
        os.environ.update({SEATS: ADAPTER.dump_json(list(seats)).decode(), **seats[0].environment})
        keep_to_cores()


def read_seats() -> list[Seat]:
    """Return where each rank is."""
    return ADAPTER.validate_json(os.environ[SEATS])


def list_ips(seats: Sequence[Seat]) -> list[Sequence[str]]:
    """List the addresses that each rank is reached at, as many of each: of this machine alone, the loopback's."""
    if all(seat.here for seat in seats):
        return [LOOPBACK] * len(seats)
    addresses = [seat.host.ips if seat.host else [] for seat in seats]
    most = min(map(len, addresses))
    return [each[:most] for each in addresses]
