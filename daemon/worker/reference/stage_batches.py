"""Runs batches through a rank's stage of the reference, for the first rank."""

from __future__ import annotations

from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.ranks.channel import Channel
from prefd.daemon.worker.ranks.frames import Frame
from prefd.daemon.worker.ranks.stage_service import StageService
from prefd.daemon.worker.scoring.stage import Stage, take_way


def run_stage(job: SpecifiedJob, channel: Channel, opening: Frame) -> None:
    """Run what the first rank sends through the layers that it names, until it sends no more: then this process ends (`Channel`).

    Of the model only these layers are read. Raises JobError where it cannot be loaded.
    """
    head = opening.head
    with channel.beating():
        way = take_way(head["way"], loading.load_lazily(job.reference).freeze())
        service = StageService(Stage.open(way, head["begin"], head["end"]))
    channel.answer({"ready": True})
    while True:
        command = channel.wait()
        with channel.beating():  # a large model's batch may take longer than a rank may say nothing
            answer, arrays = service.answer(command)
        channel.answer(answer, arrays)
