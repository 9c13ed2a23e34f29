"""How the end of a rank is told: with its machine, and with what ssh said."""

from __future__ import annotations

import io
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from prefd.daemon.home.hosts import Host
from prefd.daemon.worker.ranks.channel import Channel
from prefd.daemon.worker.ranks.crew import Crew, end_mates
from prefd.daemon.worker.ranks.frames import write_frame
from prefd.daemon.worker.ranks.mate import LostRank, Mate
from prefd.daemon.worker.ranks.seats import Seat
from prefd.daemon.worker.ranks.ssh import write_command

FAR = Seat(rank=1, here=False, host=Host(ssh="studio-2"), numbers=[1])


@contextmanager
def running(script: str, seat: Seat = FAR) -> Iterator[Mate]:
    process = subprocess.Popen(
        ["/bin/sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    mate = Mate(seat, process)
    try:
        yield mate
    finally:
        end_mates([mate])


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'ssh: connect: No route to host' >&2; exit 255", "was lost: ssh ended: ssh: connect: No route to host"),
        ("exit 255", "was lost: ssh ended, and said nothing"),
        ("exit 137", "died of SIGKILL"),
        ("echo no such module >&2; exit 1", "ended with exit code 1: no such module"),
        ("kill -9 $$", "was lost: its ssh died of SIGKILL"),
    ],
)
def test_the_end_of_a_far_rank_is_told_with_its_machine(script: str, words: str) -> None:
    with running(script) as mate, pytest.raises(LostRank) as lost:
        mate.hear()
    assert str(lost.value).startswith(f"rank 1 (studio-2) {words}")


def test_a_login_that_prints_something_is_told() -> None:
    script = "echo 'Welcome to studio-2, last login: never'; read line"
    with running(script) as mate, pytest.raises(LostRank, match=r"does a login there print something \(~/.bashrc"):
        mate.hear()


def test_one_that_says_nothing_is_ended_and_named() -> None:
    with running("exec sleep 600") as mate:
        crew = Crew([mate], 0.2, [Seat(rank=0), FAR])
        mate.tell({"do": "greet"})
        with pytest.raises(LostRank):
            mate.hear()
        assert crew.cause == "rank 1 (studio-2) said nothing for 0.2 s"
        crew.close()


def test_of_several_that_say_nothing_each_is_named_itself() -> None:
    other = Seat(rank=2, here=False, host=Host(ssh="studio-3"), numbers=[2])
    with running("exec sleep 600") as first, running("exec sleep 600", other) as second:
        crew = Crew([first, second], 0.2, [Seat(rank=0), FAR, other])
        for mate in crew.mates:
            mate.tell({"do": "greet"})
        for mate in crew.mates:
            with pytest.raises(LostRank) as lost:
                mate.hear()
            assert str(lost.value) == f"{mate.name} said nothing for 0.2 s"
        crew.close()


def test_one_that_has_answered_is_not_waited_for_though_nobody_has_heard_it_yet() -> None:
    with running("exec cat") as mate:
        assert not mate.is_awaited
        mate.tell({"do": "greet"})
        assert mate.news.wait(60)
        assert mate.has_answered
        assert not mate.is_awaited
        mate.hear()
        assert not mate.is_awaited
    with running("exec sleep 600") as mate:
        mate.tell({"do": "greet"})
        assert mate.is_awaited


def test_one_that_takes_nothing_any_more_is_ended_though_it_is_just_being_told_something() -> None:
    with running("exec sleep 600") as mate:

        def tell() -> None:
            with pytest.raises(LostRank):
                mate.tell({"do": "score"}, [np.zeros(2**20)])

        teller = threading.Thread(target=tell)
        teller.start()
        while not mate._writing.locked():
            threading.Event().wait(0.001)
        ender = threading.Thread(target=end_mates, args=([mate],), daemon=True)
        ender.start()
        ender.join(30)
        assert mate.process.poll() is not None
        teller.join(30)
        assert not teller.is_alive()


def test_beats_go_between_commands_and_never_into_one() -> None:
    with running("exec cat") as mate:
        mate.beat()
        mate.tell({"do": "greet"})
        assert mate.hear().head == {"do": "greet"}  # what cat sends back; the beat was none
        with mate._writing:
            mate.beat()
        mate.tell({"do": "again"})
        assert mate.hear().head == {"do": "again"}


def test_a_rank_leaves_when_the_first_one_says_nothing_and_beats_are_no_commands() -> None:
    left = threading.Event()
    stream = io.BytesIO()
    write_frame(stream, {"beat": True})
    write_frame(stream, {"do": "greet"})
    stream.seek(0)

    class Pipe(io.BufferedReader):
        """A pipe that stays open when all was read."""

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            if not data and size:
                left.wait(60)
            return data

    channel = Channel(Pipe(stream), io.BytesIO(), leave=lambda _: left.set(), silence=0.1)  # type: ignore[type-var]
    assert channel.wait().head == {"do": "greet"}
    assert left.wait(60)


def test_the_command_for_another_machine_is_quoted_for_its_shell() -> None:
    assert write_command(Host(ssh="a", python="~/my env/python")).startswith("exec ~/'my env/python' -X utf8 -P -m ")
    assert write_command(Host(ssh="a", python="/opt/a b/python")).startswith("exec '/opt/a b/python' ")
