"""`prefd cache verify --rescore`: score a sample of a reference's completions again and compare.

Checksums show that a value is the one that was written; this shows that it is the one the model gives. The cache holds
hashes of tokens and no tokens, so the sample is drawn from the pairs of a job that used the reference.
"""

from __future__ import annotations

import random
import time

import numpy as np

from prefd.cache.agreement import find_tolerance, measure_difference
from prefd.daemon.home.layout import Home
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.reference.needed_completions import Needs
from prefd.daemon.worker.reference.precompute import keyed_batches, score
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker_tasks.answers import Rescored, WrongValue
from prefd.daemon.worker_tasks.inputs import RescoreInput


def rescore(home: Home, request: RescoreInput) -> Rescored:
    """How the sample compares. Raises `JobError` when there is nothing to compare."""
    job = SpecifiedJob(home, request.spec, request.commits)
    if request.fingerprint not in (None, job.fingerprint.name):
        raise JobError(
            f"{job.reference.model} is now reference {job.fingerprint.name[:12]}, and was {request.fingerprint} when the "
            "job ran: its files, mlx or the device have changed since"
        )
    store = job.cache.peek(job.fingerprint)
    needs = Needs.of(job)
    keys = list(needs.completions)
    cached = dict(zip(keys, store.find(keys))) if store else {}
    held = sorted(key for key, value in cached.items() if value is not None)
    if not held:
        others = 0 if store is None else len(store.all_keys())
        raise JobError(_none_cached(job, others))
    wanted = round(len(held) * request.sample / 100) if request.percent else int(request.sample)
    chosen = random.Random(request.seed).sample(held, min(max(wanted, 1), len(held)))
    limit = find_tolerance(job.fingerprint.identity)
    scorer = fastest_scorer(loading.load(job.reference).freeze(), Options.of(job.spec))
    deadline = None if request.seconds is None else time.monotonic() + request.seconds
    batches = keyed_batches({key: needs.completions[key] for key in chosen})
    if deadline is not None:
        random.shuffle(batches)  # or only the longest would be looked at
    means: list[float] = []
    largest = 0.0
    wrong: list[WrongValue] = []
    for batch in batches:
        if deadline is not None and means and time.monotonic() >= deadline:
            break
        for key, live in score(scorer, batch).items():
            value = cached[key]
            assert value is not None
            difference = measure_difference(value, live)
            means.append(difference.mean)
            largest = max(largest, difference.largest)
            if difference.exceeds(limit):
                row = needs.rows[key]
                wrong.append(
                    WrongValue(key=key.hex(), row=row.row, place=str(row), mean=difference.mean, max=difference.largest)
                )
    return Rescored(
        fingerprint=job.fingerprint.name,
        model=job.reference.model,
        data=job.spec.data.where,
        cached=len(held),
        sampled=len(chosen),
        checked=len(means),
        tolerance=limit,
        mean=float(np.mean(means)),
        max=largest,
        wrong=wrong,
    )


def _none_cached(job: SpecifiedJob, others: int) -> str:
    """`others`: how many completions of the reference are in the cache."""
    said = f"none of the completions of {job.spec.data.where} is cached for {job.reference.model}"
    if not others:
        return said
    return (
        f"{said}; it has {others:,} of other tokens: the data have changed since these were scored, or how tokens are made of "
        "them, or these are another job's. `prefd preview` shows the tokens of now, and a new job scores them"
    )
