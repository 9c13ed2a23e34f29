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


def trained(running_job: RunningJob) -> RunningJob:
    """`made`, run to its end, its outcome written as its worker writes it."""
    if running_job.loss.needs_reference:
        run_precompute(running_job)
    running_job.run.write_outcome("training", run_training(running_job))
    return again(running_job)


def scored(running_job: RunningJob) -> PairsHead:
    """The head of the pairs of `made`, scored in this process."""
    return score_pairs(running_job.home, PairScoringInput(job=int(running_job.run.root.name)))


def page(running_job: RunningJob, **choices: Any) -> PairsPage:
    """A page of its scored pairs."""
    files = PairFiles(running_job.run)
    return read_page(files, files.read_state(int(running_job.run.root.name)), **choices)
