"""What is committed of a reference pass that ends before it is whole."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prefd.daemon.worker.errors import Stopped
from prefd.daemon.worker.progress import Reporter
from prefd.daemon.worker.reference.cache_fill import CacheFill
from prefd.daemon.worker.reference.needed_completions import Needs
from prefd.daemon.worker.reference.scoring_batches import BatchSize
from prefd.daemon.worker.reference.shared_scoring import SharedScoring
from prefd.daemon.worker.reference.unscored_batches import UnscoredBatches
from support.jobs_on_disk import make_job
from support.scoring_mates import FakeMate, FakeReference, until


@pytest.mark.parametrize("end", ["a failure", "a stop"])
def test_what_other_ranks_have_scored_while_the_first_computed_is_kept(
    home: Path, tiny_model: Path, pairs_file: Path, end: str
) -> None:
    job = make_job(home, model=str(tiny_model), data={"path": str(pairs_file)})
    needs, stop, mate = Needs.collect(job), threading.Event(), FakeMate(1)
    unscored = UnscoredBatches(needs.completions, BatchSize(1), job.store, job.store.open_claims(), 10**6)
    batches = len(unscored.batches)

    def wait_and_end() -> None:
        until(lambda: shared._news.qsize() == batches - 1)()
        if end == "a failure":
            raise RuntimeError("[metal::malloc] Unable to allocate 9 bytes")
        stop.set()

    reference: Any = FakeReference(wait_and_end)
    crew: Any = SimpleNamespace(mates=[mate], size=2)
    report = Reporter(job.run, "precompute", len(needs.completions), "completions")
    with SharedScoring(reference, crew, needs.rows) as shared:
        fill = CacheFill(job, needs.rows, reference, unscored, stop, report, shared=shared)
        with pytest.raises(RuntimeError if end == "a failure" else Stopped):
            fill.run()
    missing = job.store.missing(list(needs.completions))
    assert bool(missing) == (end == "a failure"), "what the first had of its own"
    assert report.done == fill.result.scored == len(needs.completions) - len(missing)
