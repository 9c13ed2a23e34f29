"""Chooses which rank has which of a reference's layers, where they are spread over the ranks of a job.

A stage takes as long as its layers have bytes, about, and a pipeline is as slow as its slowest stage. So the layers are cut where the
largest stage is smallest, among the cuts whose stages all fit into the memory of their machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from prefd.daemon.runs.pipeline_summary import PipelineSummary, StageSummary
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.memory import format_gib
from prefd.daemon.worker.reference.window_choice import USABLE, ModelSizes, count_batch_bytes

HEAD_WORK = 0.5
"""The head's work beside that of layers of as many bytes: it runs for an answer's tokens, and not for a prompt's."""


@dataclass(frozen=True)
class Room:
    """Room is what a rank may take of its machine's memory: its share, where it has others beside it."""

    rank: int
    where: str
    total: int
    free: int

    @classmethod
    def share(cls, rank: int, where: str, machine: tuple[int, int], beside: int) -> Room:
        """Return the room of one of `beside` ranks of a machine, which has so many bytes in all, and free."""
        return cls(rank, where, machine[0] // beside, machine[1] // beside)


def fits_whole(sizes: ModelSizes, rooms: Sequence[Room]) -> bool:
    """Say whether each rank can hold the whole model."""
    return all(sizes.total <= room.total for room in rooms)


def choose_stages(sizes: ModelSizes, rooms: Sequence[Room], batch_tokens: int) -> PipelineSummary | None:
    """Choose which layers each rank has, at least one: by the memory that is free, or if that is too little, by what there is at all.

    None where the ranks cannot hold the model together. There may not be more ranks than layers.
    """
    batch = count_batch_bytes(sizes, batch_tokens)
    cuts = _cut(sizes, [int(USABLE * room.free) - batch for room in rooms]) or _cut(
        sizes, [room.total for room in rooms]
    )
    if cuts is None:
        return None
    stages = [
        StageSummary(
            rank=room.rank, where=room.where, begin=begin, end=end, weights_bytes=count_bytes(sizes, begin, end)
        )
        for room, (begin, end) in zip(rooms, pairwise(cuts), strict=True)
    ]
    return PipelineSummary(layers=len(sizes.layers), stages=stages)


def count_bytes(sizes: ModelSizes, begin: int, end: int) -> int:
    """Count the bytes of the weights that a stage of these layers holds, the first one's embeddings and the last one's head included."""
    first = sizes.frame - sizes.behind if begin == 0 else 0
    last = _count_head(sizes) if end == len(sizes.layers) else 0
    return first + sum(sizes.layers[begin:end]) + last


def _count_head(sizes: ModelSizes) -> int:
    """Count the bytes of the output head: the embeddings, unless what is behind the trunk is about as large as they are."""
    return sizes.behind if 2 * sizes.behind >= sizes.frame - sizes.behind else sizes.frame


def _cut(sizes: ModelSizes, rooms: Sequence[int]) -> list[int] | None:
    """Cut the layers into as many stages as there are `rooms`, each of which has space for so many bytes; None where that cannot be.

    Gives where each begins, and where the last ends.
    """
    count = len(sizes.layers)
    # of the stages so far, for each layer that they may end before: the largest one's work, and where each begins
    best: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
    for room in rooms:
        longer: dict[int, tuple[float, list[int]]] = {}
        for begin, (largest, begins) in best.items():
            for end in range(begin + 1, count + 1):
                if count_bytes(sizes, begin, end) > room:
                    break
                work = max(largest, _measure_work(sizes, begin, end))
                if end not in longer or work < longer[end][0]:
                    longer[end] = work, [*begins, begin]
        best = longer
    return None if count not in best else [*best[count][1], count]


def _measure_work(sizes: ModelSizes, begin: int, end: int) -> float:
    return sum(sizes.layers[begin:end]) + (HEAD_WORK * _count_head(sizes) if end == len(sizes.layers) else 0.0)


def explain_no_stages(sizes: ModelSizes, name: str, rooms: Sequence[Room]) -> JobError:
    """Explain that the ranks cannot hold the model `name` together."""
    has = ", ".join(f"rank {room.rank} ({room.where}) {format_gib(room.total)}" for room in rooms)
    return JobError(
        f"reference.pipeline: the weights of {name} take {format_gib(sizes.total)}, of which {format_gib(max(sizes.layers))} for its largest "
        f"layer, and the ranks have too little memory for them together: {has}; name a smaller reference, or add machines to [distributed] "
        "hosts in config.toml"
    )
