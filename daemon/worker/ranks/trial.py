"""The trial of a machine that ranks may run on: what it has, whether it adds up with this one, and how fast the link is.

`try_host` asks, for `prefd doctor`, and `follow_trial` answers there. MLX's ring is joined by a process of its own for each host.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np

from prefd.daemon.errors import EXPECTED
from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.ranks.channel import Channel
from prefd.daemon.worker.ranks.crew import Crew
from prefd.daemon.worker.ranks.greeting import (
    describe_machine,
    explain_other_facts,
    explain_other_model,
    identify_model,
    list_facts,
)
from prefd.daemon.worker.ranks.joining import Joining
from prefd.daemon.worker.ranks.mate import Mate
from prefd.daemon.worker.ranks.ring import Stamp
from prefd.daemon.worker.ranks.seats import Seat
from prefd.daemon.worker.ranks.ssh import start_there
from prefd.daemon.worker.ranks.welcome import welcome_rank
from prefd.daemon.worker_tasks.host_trials import TrialFinding

SUM_NUMBERS = 2_500_000
"""Float32 numbers of a sum that is tried: 10 MB, an adapter of a small model."""
SUMS = 3
ECHO_BYTES = 2**20
SILENCE_SECONDS = 30.0

Tell = Callable[[TrialFinding], None]


def follow_trial(channel: Channel, home: Home) -> None:
    """Answer the machine that tries this one, until it asks no more: then this process ends (`Channel`). Raises LostRing."""
    joining = Joining(channel)
    while True:
        command = channel.wait()
        if joining.follow(command):
            continue
        match command.head["do"]:
            case "greet":
                channel.answer({"facts": list_facts(), "machine": describe_machine()})
            case "identify":
                answer: dict[str, Any]
                try:
                    with channel.beating():
                        answer = {"identity": identify_model(ModelSource(command.head["model"]), home)}
                except EXPECTED as error:
                    answer = {"trouble": str(error)}
                channel.answer(answer)
            case "echo":
                channel.answer({"echo": True}, command.arrays)
            case "sum":
                assert joining.ring is not None
                for number in range(SUMS):
                    joining.ring.sum(make_ones(), Stamp(number, 2, 1, 0))
                channel.answer({"summed": SUMS})


def make_ones() -> Any:
    """Make what the machines add up."""
    return {"ones": mx.ones(SUM_NUMBERS)}


def try_host(seats: Sequence[Seat], settings: HandedSettings, models: Sequence[str], home: Home, tell: Tell) -> None:
    """Try the machine of the second of two seats, and tell what works. Raises LostRank and JobError, with what does not."""
    with _start(seats, settings) as (crew, mate):
        if not try_versions(mate, tell):
            return
        for model in models:
            try_model(mate, model, home, tell)
        tell(TrialFinding(level="ok", detail=f"over ssh: {measure_echo(mate)}"))
        crew.join_ring()
        tell(TrialFinding(level="ok", detail=f"over the {crew.backend}: {measure_sums(crew)}"))


def try_versions(mate: Mate, tell: Tell) -> bool:
    """Compare versions and devices; return whether they are the same. Raises LostRank."""
    began = time.monotonic()
    mate.tell({"do": "greet"})
    answer = mate.hear().head
    there, seconds = answer["facts"], time.monotonic() - began
    versions = ", ".join(f"{name} {version}" for name, version in there.items())
    tell(TrialFinding(level="ok", detail=f"ssh works; in {seconds:.1f} s there was {versions} ({answer['machine']})"))
    trouble = explain_other_facts("it", there, list_facts())
    if trouble is not None:
        tell(TrialFinding(level="fail", detail=trouble))
    return trouble is None


def try_model(mate: Mate, model: str, home: Home, tell: Tell) -> None:
    """Compare a model's content. Raises LostRank."""
    assert mate.seat.host is not None
    path = mate.seat.host.find_folder(model)
    mate.tell({"do": "identify", "model": path})
    there = mate.hear().head
    trouble = there.get("trouble")
    if trouble is None:
        here = identify_model(ModelSource(model), home)
        trouble = explain_other_model("it", model, path, there["identity"], here)
    tell(TrialFinding(level="fail" if trouble else "ok", detail=trouble or f"{path} is the same there"))


@contextmanager
def _start(seats: Sequence[Seat], settings: HandedSettings) -> Iterator[tuple[Crew, Mate]]:
    seat = seats[1]
    assert seat.host is not None
    mate = Mate(seat, start_there(seat.host, welcome_rank(seat, 2, settings)))
    crew = Crew([mate], min(settings.rank_timeout, SILENCE_SECONDS), seats, settings.backend)
    try:
        yield crew, mate
    finally:
        crew.close()


def measure_echo(mate: Mate) -> str:
    """Measure how long what is sent to a rank takes to come back."""
    times = []
    for size in (0, ECHO_BYTES):
        sent = np.frombuffer(secrets.token_bytes(size), np.uint8)
        began = time.monotonic()
        mate.tell({"do": "echo"}, [sent])
        (back,) = mate.hear().arrays
        times.append(time.monotonic() - began)
        assert np.array_equal(sent, back)
    seconds = max(times[1] - times[0], 1e-6)
    return f"{1000 * times[0]:.1f} ms there and back, {2 * ECHO_BYTES / seconds / 1e6:.0f} MB/s"


def measure_sums(crew: Crew) -> str:
    """Add 10 MB up with another rank, some times, and say how long it takes. Raises LostRank."""
    (mate,) = crew.mates
    mate.tell({"do": "sum"})
    times = []
    for number in range(SUMS):
        began = time.monotonic()
        with crew.summing() as ring:
            total = ring.sum(make_ones(), Stamp(number, 2, 1, 0))["ones"]
        times.append(time.monotonic() - began)
        assert bool(mx.all(total == 2).item())
    mate.hear()
    size = 4 * SUM_NUMBERS / 1e6
    return f"a sum of {size:.0f} MB takes {1000 * min(times):.0f} ms, {size / min(times):.0f} MB/s"
