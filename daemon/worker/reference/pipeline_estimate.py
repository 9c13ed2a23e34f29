"""Says which rank would have which of a reference's layers, for `prefd cache explain`; starts no rank and reads no weight."""

from __future__ import annotations

from prefd.daemon.machine.cpus import usable_cpus
from prefd.daemon.runs.pipeline_summary import PipelineSummary
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.models import loading, memory
from prefd.daemon.worker.models.tiers import find_tier
from prefd.daemon.worker.ranks.count import count_ranks
from prefd.daemon.worker.ranks.seats import plan_seats
from prefd.daemon.worker.reference.pipeline_opening import read_pipeline_setting
from prefd.daemon.worker.reference.scoring_pass import BATCH_TOKENS, read_window_setting
from prefd.daemon.worker.reference.stage_choice import Room, choose_stages, explain_no_stages, fits_whole
from prefd.daemon.worker.reference.window_choice import ModelSizes


def estimate_pipeline(job: SpecifiedJob, weights: int) -> PipelineSummary | None:
    """Say which rank would have which layers of a reference of about so many bytes; None where each would have all of them.

    Of other machines nothing is known here: each is taken to have as much memory as this one. Raises JobError for ranks of this
    machine that cannot hold the reference together, where the spec wants that.
    """
    choice = read_pipeline_setting(job.spec)
    if job.spec.ranks == 1 or choice is False or read_window_setting(job.spec) is not None:
        return None
    rooms = _list_rooms(job)
    if len(rooms) == 1 or (not choice and all(weights <= room.total for room in rooms)):
        return None
    sizes = ModelSizes.measure(loading.load_lazily(job.reference))
    if not sizes.layers or (not choice and fits_whole(sizes, rooms)):
        return None
    rooms = rooms[: len(sizes.layers)]
    stages = choose_stages(sizes, rooms, BATCH_TOKENS[find_tier()])
    if stages is None and choice and not job.settings.list_hosts():
        raise explain_no_stages(sizes, job.reference.model, rooms)
    return stages


def _list_rooms(job: SpecifiedJob) -> list[Room]:
    settings = job.settings
    hosts = settings.list_hosts()
    ranks = count_ranks(job.spec.ranks, settings.device, len(usable_cpus()), hosts)
    machine = memory.machine()
    return [Room.share(seat.rank, seat.where, machine, len(seat.numbers)) for seat in plan_seats(ranks, hosts)]
