"""Jobs that are trained to their end, with the outcome that scoring their pairs begins from."""

from __future__ import annotations

from typing import Any

from prefd.daemon.runs.pair_answers import PairsHead, PairsPage
from prefd.daemon.runs.pair_files import PairFiles
from prefd.daemon.runs.pair_table import read_page
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.pair_scoring import score_pairs
from prefd.daemon.worker_tasks.inputs import PairScoringInput
from support.jobs_on_disk import again, run_precompute, run_training


def trained(made: RunningJob) -> RunningJob:
    """`made`, run to its end, its outcome written as its worker writes it."""
    if made.loss.needs_reference:
        run_precompute(made)
    made.run.write_outcome("training", run_training(made))
    return again(made)


def scored(made: RunningJob) -> PairsHead:
    """The head of the pairs of `made`, scored in this process."""
    return score_pairs(made.home, PairScoringInput(job=int(made.run.root.name)))


def page(made: RunningJob, **asked: Any) -> PairsPage:
    """A page of its scored pairs."""
    files = PairFiles(made.run)
    return read_page(files, files.read_state(int(made.run.root.name)), **asked)
