"""Starts the other ranks of a job, and makes sure that those on other machines have what this one has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from subprocess import Popen
from typing import Any, Literal

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.ranks.crew import Crew
from prefd.daemon.worker.ranks.early import take_rank
from prefd.daemon.worker.ranks.greeting import explain_other_facts, explain_other_model, list_facts, list_plugins
from prefd.daemon.worker.ranks.mate import LostRank, Mate
from prefd.daemon.worker.ranks.seats import Seat, read_seats
from prefd.daemon.worker.ranks.ssh import start_there
from prefd.daemon.worker.ranks.welcome import welcome_rank

log = logging.getLogger(__name__)

Model = Literal["policy", "reference"]
"""Which of a job's models its ranks work with."""


@contextmanager
def start_ranks(job: RunningJob, model: Model, on_lost: Callable[[str], None] | None = None) -> Iterator[Crew]:
    """Start the other ranks of a job, and end them behind the block.

    Raises JobError where one on another machine has not what this one has, and LostRank where one cannot be started; `on_lost`: what
    is called with the reason instead, where the others can go on without it.
    """
    seats = read_seats()
    job.plugins  # noqa: B018  # what plugins have imported is known once they are
    with ExitStack() as stack:
        mates = []
        for seat in seats[1:]:
            process = _start(seat, len(seats), job)
            stack.callback(process.kill)
            mates.append(Mate(seat, process))
        crew = Crew(mates, job.settings.rank_timeout, seats, job.settings.backend)
        stack.callback(crew.close)
        log.info("ranks: %d others are starting (pids %s)", len(mates), _list_pids(mates))
        greet(crew, job, model, on_lost)
        yield crew


def _start(seat: Seat, ranks: int, job: RunningJob) -> Popen[bytes]:
    if seat.here:
        return take_rank(seat, job.home.root, int(job.run.root.name))
    assert seat.host is not None
    return start_there(seat.host, welcome_rank(seat, ranks, job.settings, job.spec, job.run.batches.halvings))


def _list_pids(mates: Sequence[Mate]) -> str:
    return ", ".join(f"{mate.process.pid}{f' to {mate.seat.name}' if mate.seat.name else ''}" for mate in mates)


def greet(crew: Crew, job: RunningJob, model: Model, on_lost: Callable[[str], None] | None = None) -> None:
    """Compare what ranks on other machines have with what is here. Raises as `start_ranks`."""
    if not crew.is_far:
        return
    source = job.policy if model == "policy" else job.reference
    facts, plugins = list_facts(), _list_needed_plugins(job)

    def compare_facts(mate: Mate, answer: Mapping[str, Any]) -> str | None:
        total, free = answer.get("memory") or (0, 0)  # another version, which is refused below, may not say
        mate.memory = int(total), int(free)
        there = answer["facts"] | {name: version for name, version in answer["plugins"].items() if name in plugins}
        return explain_other_facts(mate.seat.name, there, facts | plugins)

    _ask(crew, {"do": "greet"}, compare_facts, on_lost)
    identity = job.identify(source).identity

    def compare_models(mate: Mate, answer: Mapping[str, Any]) -> str | None:
        assert mate.seat.host is not None
        path = mate.seat.host.find_folder(source.model)
        return explain_other_model(mate.seat.name, source.model, path, answer["identity"], identity)

    _ask(crew, {"do": "identify", "what": model}, compare_models, on_lost)


def _ask(
    crew: Crew,
    question: Mapping[str, str],
    compare: Callable[[Mate, Mapping[str, Any]], str | None],
    on_lost: Callable[[str], None] | None,
) -> None:
    """Ask all ranks on other machines, and refuse what `compare` finds in an answer. Raises as `start_ranks`."""
    far = [mate for mate in crew.mates if mate.seat.name]
    for mate in far:
        with _losing(crew, mate, on_lost):
            mate.tell(question)
    for mate in far:
        if mate not in crew.mates:
            continue
        with _losing(crew, mate, on_lost):
            trouble = compare(mate, mate.hear().head)
            if trouble is not None:
                raise JobError(f"rank {mate.rank}: {trouble}")


@contextmanager
def _losing(crew: Crew, mate: Mate, on_lost: Callable[[str], None] | None) -> Iterator[None]:
    """Go on without a rank that ends in the block, where that may be; what it says itself, before it began, is the job's trouble."""
    try:
        yield
    except LostRank as error:
        if mate.words:
            raise JobError(str(error)) from error
        if on_lost is None:
            raise
        crew.drop(mate)
        on_lost(str(error))


def _list_needed_plugins(job: RunningJob) -> dict[str, str]:
    """List the installed plugins whose losses the job takes, with their versions."""
    plugins = {job.plugins.losses[name].plugin for name in job.spec.loss_names if name in job.plugins.losses}
    return {name: version for name, version in list_plugins(job.plugins).items() if name in plugins}
