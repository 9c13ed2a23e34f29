"""A phase takes the ranks that were started with the first one, and starts those that are not there any more."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefd.daemon.home.hosts import Host
from prefd.daemon.worker.ranks import early
from prefd.daemon.worker.ranks.early import start_early, take_rank
from prefd.daemon.worker.ranks.seats import Seat

HOME, JOB = Path("/home"), 7
SLEEP = (sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()")
HERE = [Seat(rank=rank) for rank in range(3)]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The ranks that were started, in their order; all are ended afterwards."""
    ranks: list[int] = []
    processes = []

    def start(seat: Seat, home: Path, job_id: int) -> subprocess.Popen[bytes]:
        assert (home, job_id) == (HOME, JOB)
        ranks.append(seat.rank)
        processes.append(subprocess.Popen(SLEEP, stdin=subprocess.PIPE))
        return processes[-1]

    monkeypatch.setattr(early, "start_here", start)
    yield ranks
    for process in processes:
        process.communicate()


def test_each_is_taken_once_and_the_next_phase_gets_new_ones(started: list[int]) -> None:
    start_early(HERE, HOME, JOB)
    assert started == [1, 2], "the first is this process"
    first = [take_rank(seat, HOME, JOB) for seat in HERE[1:]]
    assert started == [1, 2]
    second = [take_rank(seat, HOME, JOB) for seat in HERE[1:]]
    assert started == [1, 2, 1, 2]
    assert not set(first) & set(second)


def test_one_that_has_ended_meanwhile_is_started_again(started: list[int]) -> None:
    start_early(HERE, HOME, JOB)
    early._waiting[1].communicate()
    take_rank(HERE[1], HOME, JOB)
    take_rank(HERE[2], HOME, JOB)
    assert started == [1, 2, 1]


def test_ranks_of_other_machines_are_not_started_before_there_is_work_for_them(started: list[int]) -> None:
    start_early([HERE[0], Seat(rank=1, here=False, host=Host(ssh="studio-2"))], HOME, JOB)
    assert started == []
