"""Opens a reference whose layers are spread over the ranks of a job: where no rank's memory holds it whole, or where the spec wants that.

One process chooses the way of scoring and the layers, by trial and for all, so no two ranks can take different ways.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from prefd.daemon.runs.pipeline_summary import PipelineSummary
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.data.tokens import Completion
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading, memory
from prefd.daemon.worker.models.pass_length import SAMPLE_TOKENS, bound_tokens
from prefd.daemon.worker.models.tiers import find_tier
from prefd.daemon.worker.ranks.crew import Crew
from prefd.daemon.worker.ranks.mate import LostRank
from prefd.daemon.worker.ranks.pipeline import Pipeline
from prefd.daemon.worker.reference.scoring_batches import shrink_pieces
from prefd.daemon.worker.reference.scoring_pass import BATCH_TOKENS, ReferencePass, read_window_setting
from prefd.daemon.worker.reference.stage_choice import Room, choose_stages, explain_no_stages, fits_whole
from prefd.daemon.worker.reference.window_choice import ModelSizes
from prefd.daemon.worker.scoring.choose import NoWindows, choose_apart, narrow_batching
from prefd.daemon.worker.scoring.scorer import Options, Scorer
from prefd.daemon.worker.scoring.stage import Stage, describe_way

log = logging.getLogger(__name__)


def open_pipeline(job: RunningJob, crew: Crew, warnings: list[str]) -> ReferencePass | None:
    """Open the reference of `job` with its layers over the ranks of `crew`; None where each rank is to have all of them.

    `warnings` gets what the report should say. Raises JobError where that is asked for and cannot be, and LostRank.
    """
    choice = read_pipeline_setting(job.spec)
    if choice is False or read_window_setting(job.spec) is not None or not crew.mates:
        return None
    source, halvings = job.reference, job.run.batches.halvings
    batch_tokens = BATCH_TOKENS[find_tier()] >> halvings
    sizes = ModelSizes.measure(loading.load_lazily(source))
    if not choice and fits_whole(sizes, list_rooms(crew)):
        return None
    stages = _choose(crew, sizes, source.model, batch_tokens, choice is True, warnings)
    if stages is None:
        return None
    options = shrink_pieces(Options.from_spec(job.spec), job.spec.data.max_length, halvings)
    try:
        way = choose_apart(lambda: loading.load_lazily(source).freeze(), options)
    except NoWindows as error:
        warnings.append(f"the layers of {source.model} are not spread over the ranks: {error}")
        log.warning("%s", warnings[-1])
        return None
    pipeline = _open_stages(way, crew, stages)
    if loading.device() == "cpu":
        pipeline = replace(pipeline, scorer=narrow_batching(way, pipeline.run))
    batch_tokens = _bound_tokens(pipeline, batch_tokens)
    pipeline.sent.clear()  # of what was tried
    return ReferencePass(pipeline, max(1, batch_tokens))


def read_pipeline_setting(spec: JobSpec) -> bool | None:
    """Return whether the spec wants the reference's layers over the ranks; None where it leaves that open."""
    return None if spec.reference is None else spec.reference.pipeline


def list_rooms(crew: Crew) -> list[Room]:
    """List what each rank of `crew` may take of its machine's memory."""
    seats = {seat.rank: seat for seat in crew.seats}
    machines = {0: memory.machine()} | {mate.rank: mate.memory or memory.machine() for mate in crew.mates}
    return [
        Room.share(rank, seats[rank].where, machine, max(1, len(seats[rank].numbers)))
        for rank, machine in machines.items()
    ]


def _choose(
    crew: Crew, sizes: ModelSizes, name: str, batch_tokens: int, is_required: bool, warnings: list[str]
) -> PipelineSummary | None:
    if not sizes.layers:
        if is_required:
            raise JobError(
                f"reference.pipeline is true, and {name} has no layers that are found, so they cannot be spread over ranks: leave it out"
            )
        return None
    is_complete = len(crew.mates) + 1 == len(crew.seats)
    for mate in crew.mates[len(sizes.layers) - 1 :]:
        crew.drop(mate)
        warnings.append(
            f"rank {mate.rank} has scored nothing: {name} has only {len(sizes.layers)} layers to spread over ranks"
        )
    rooms = list_rooms(crew)
    stages = choose_stages(sizes, rooms, batch_tokens)
    if stages is None and is_required:
        error = explain_no_stages(sizes, name, rooms)
        if not is_complete:  # who is not there may be there again at the next try
            raise LostRank(f"a rank is missing, which the log has above, and without it: {error}")
        raise error
    return stages


def _open_stages(way: Scorer, crew: Crew, stages: PipelineSummary) -> Pipeline:
    """Have each rank read its layers, all at the same time. Raises JobError for one that cannot, and LostRank."""
    own, *others = stages.stages
    for mate, stage in zip(crew.mates, others, strict=True):
        mate.tell({"do": "stage", "begin": stage.begin, "end": stage.end, "way": describe_way(way)})
    pipeline = Pipeline(way, Stage.open(way, own.begin, own.end), crew, stages)
    for mate in crew.mates:
        try:
            mate.hear()
        except LostRank as error:
            if mate.words:
                raise JobError(str(error)) from error
            raise
    return pipeline


def _bound_tokens(pipeline: Pipeline, most: int) -> int:
    """Bound what the ranks compute at once, by the slowest of them: on a GPU, where a display may wait."""
    sample = Completion(np.ones(SAMPLE_TOKENS + 1, np.uint32), 1)

    def measure(_: object) -> float:
        for _ in range(2):  # the first one compiles
            list(pipeline.logprobs([[sample]]))
        return pipeline.measure_layer()

    return bound_tokens(pipeline.scorer.model, most, measure)
