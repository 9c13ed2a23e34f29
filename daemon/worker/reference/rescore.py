"""Scores a sample of a reference's completions again and compares, for `prefd cache verify --rescore`.

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
from prefd.daemon.worker.models.memory import bound_device_memory
from prefd.daemon.worker.reference.needed_completions import Needs
from prefd.daemon.worker.reference.scoring_pass import batch_by_key, cut_chunks, open_reference
from prefd.daemon.worker_tasks.answers import Rescored, WrongValue
from prefd.daemon.worker_tasks.inputs import RescoreInput


def rescore(home: Home, request: RescoreInput) -> Rescored:
    """Score a sample again and compare it with the cache. Raises `JobError` when there is nothing to compare."""
    job = SpecifiedJob(home, request.spec, request.commits)
    if request.fingerprint not in (None, job.fingerprint.name):
        raise JobError(
            f"{job.reference.model} is now reference {job.fingerprint.name[:12]}, and was {request.fingerprint} when the "
            "job ran: its files, mlx or the device have changed since"
        )
    store = job.cache.peek(job.fingerprint)
    needs = Needs.collect(job)
    keys = list(needs.completions)
    cached = dict(zip(keys, store.find(keys))) if store else {}
    cached_keys = sorted(key for key, value in cached.items() if value is not None)
    if not cached_keys:
        other_entries = 0 if store is None else len(store.all_keys())
        raise JobError(_describe_empty_sample(job, other_entries))
    sample_size = round(len(cached_keys) * request.sample / 100) if request.percent else int(request.sample)
    sampled_keys = random.Random(request.seed).sample(cached_keys, min(max(sample_size, 1), len(cached_keys)))
    limit = find_tolerance(job.fingerprint.identity)
    bound_device_memory(job.parallel)
    reference = open_reference(job)
    deadline = None if request.seconds is None else time.monotonic() + request.seconds
    batches = batch_by_key({key: needs.completions[key] for key in sampled_keys}, reference.batch_tokens)
    if deadline is not None:
        random.shuffle(batches)  # or only the longest would be checked
    means: list[float] = []
    largest = 0.0
    wrong_values: list[WrongValue] = []
    for chunk in cut_chunks(batches, reference.chunk_tokens):
        if deadline is not None and means and time.monotonic() >= deadline:
            break
        for key, scores in (entry for part in reference.score(chunk) for entry in part.items()):
            value = cached[key]
            assert value is not None
            difference = measure_difference(value, scores)
            means.append(difference.mean)
            largest = max(largest, difference.largest)
            if difference.exceeds(limit):
                row = needs.rows[key]
                wrong_values.append(
                    WrongValue(key=key.hex(), row=row.row, place=str(row), mean=difference.mean, max=difference.largest)
                )
    return Rescored(
        fingerprint=job.fingerprint.name,
        model=job.reference.model,
        data=job.spec.data.where,
        cached=len(cached_keys),
        sampled=len(sampled_keys),
        checked=len(means),
        tolerance=limit,
        mean=float(np.mean(means)),
        max=largest,
        wrong=wrong_values,
    )


def _describe_empty_sample(job: SpecifiedJob, other_entries: int) -> str:
    """Say why there is nothing to compare. `other_entries`: how many completions of the reference are in the cache."""
    message = f"none of the completions of {job.spec.data.where} is cached for {job.reference.model}"
    if not other_entries:
        return message
    return (
        f"{message}; it has {other_entries:,} of other tokens: the data have changed since these were scored, or how tokens are made of "
        "them, or these are another job's. `prefd preview` shows the tokens of now, and a new job scores them"
    )
