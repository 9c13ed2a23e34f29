"""Where each rank of a job runs, and at which addresses they meet."""

from __future__ import annotations

import os

import pytest

from prefd.daemon.home.hosts import Host
from prefd.daemon.machine import cpus
from prefd.daemon.machine.cpus import CPUS
from prefd.daemon.worker.ranks import count, seats
from prefd.daemon.worker.ranks.count import RANK, RANKS, RANKS_HERE, read_ranks, read_ranks_here
from prefd.daemon.worker.ranks.seats import SEATS, begin_ranks, list_ips, plan_seats, read_seats

MAC, STUDIO = (Host(ssh=name, ips=ips) for name, ips in (("mac", ["10.0.0.1", "10.1.0.1"]), ("studio-2", ["10.0.0.2"])))


@pytest.fixture
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (CPUS, RANK, RANKS, RANKS_HERE, SEATS, *cpus.THREADS):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(count, "usable_cpus", lambda: [0, 1])


@pytest.mark.usefixtures("two_cores")
def test_the_first_rank_keeps_to_its_cores_and_knows_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setattr(seats, "keep_to_cores", lambda: messages.append(os.environ[CPUS]))
    begin_ranks(plan_seats(1, ()))
    assert (read_ranks(), messages) == (1, [])
    planned = plan_seats(2, ())
    begin_ranks(planned)
    assert (read_ranks(), read_ranks_here(), messages) == (2, 2, ["0"])
    assert read_seats() == planned
    assert list_ips(planned) == [("127.0.0.1",)] * 2


@pytest.mark.usefixtures("two_cores")
def test_ranks_go_to_the_hosts_in_their_order_and_those_of_one_share_its_cores() -> None:
    planned = plan_seats(4, (MAC, STUDIO, Host(ssh="localhost", ips=["10.0.0.1"]), STUDIO))
    assert [(seat.name, seat.where, list(seat.numbers)) for seat in planned] == [
        ("", "this machine", [0, 2]),
        ("studio-2", "studio-2", [1, 3]),
        ("", "this machine", [0, 2]),
        ("studio-2", "studio-2", [1, 3]),
    ]
    assert [seat.environment.get(CPUS) for seat in planned] == ["0", None, "1", None]
    assert list_ips(planned) == [["10.0.0.1"], ["10.0.0.2"], ["10.0.0.1"], ["10.0.0.2"]]
