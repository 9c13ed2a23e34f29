"""Scores batches for the first rank: each comes over a pipe as tokens, and goes back as log-probabilities."""

from __future__ import annotations

import logging
import time

import mlx.core as mx
import numpy as np

from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.ranks.channel import Channel
from prefd.daemon.worker.ranks.frames import Frame
from prefd.daemon.worker.ranks.pairs import unpack_completions
from prefd.daemon.worker.reference.scoring_pass import open_reference

log = logging.getLogger(__name__)


def score_batches(job: SpecifiedJob, channel: Channel, opening: Frame) -> None:
    """Score what the first rank sends, until it sends no more: then this process ends (`Channel`). Raises as `open_reference`."""
    with channel.beating():
        reference = open_reference(job, opening.head["halvings"])
    channel.answer({"ready": reference.scorer.describe()})
    while True:
        command = channel.wait()
        completions = unpack_completions(command.arrays)
        began = time.monotonic()
        with channel.beating():  # a large model's batch may take longer on a processor than a rank may say nothing
            (logprobs,) = reference.score_completions([completions])
            mx.eval(logprobs.tokens)
        table = np.array(logprobs.tokens)
        values = [row[: len(each.ids) - each.start] for row, each in zip(table, completions)]
        channel.answer({"scored": len(completions), "seconds": time.monotonic() - began}, [np.concatenate(values)])
