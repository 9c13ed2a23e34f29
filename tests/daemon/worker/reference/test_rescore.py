"""Scoring a sample again: right values pass, a wrong one that every checksum agrees with is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefd.cache.upkeep.rescue import evict
from prefd.cache.upkeep.stored_reference import whole_references
from prefd.cache.upkeep.verify import verify
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.snapshot import DataState, Stock, freeze
from prefd.daemon.specs.data_sources import Source
from prefd.daemon.worker.data import rows
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.reference import scoring_pass
from prefd.daemon.worker.reference.rescore import rescore
from prefd.daemon.worker_tasks.answers import Rescored
from prefd.daemon.worker_tasks.inputs import RescoreInput
from support import homes
from support import tiny_model as tiny
from support.jobs_on_disk import make_job, run_precompute


def ask(job: RunningJob, **request: Any) -> Rescored:
    return rescore(job.home, RescoreInput(spec=job.spec, **{"sample": 100, "percent": True} | request))


@pytest.fixture
def job(home: Path, tiny_model: Path, pairs_file: Path) -> RunningJob:
    return make_job(home, model=str(tiny_model), data={"path": str(pairs_file)})


def test_what_the_model_gives_is_what_was_stored(job: RunningJob) -> None:
    run_precompute(job)
    report = ask(job, fingerprint=job.fingerprint.name)
    assert (report.cached, report.sampled, report.checked, report.wrong) == (16, 16, 16, [])
    assert report.fingerprint == job.fingerprint.name
    assert report.max < 1e-4
    assert report.mean <= report.max


@pytest.mark.parametrize("error", [0.05, 0.5])
def test_a_planted_wrong_value_is_found_evicted_and_scored_again(job: RunningJob, error: float) -> None:
    right = make_job(job.home.root.with_name("right"), **job.spec.model_dump())
    run_precompute(right)
    completion = job.examples[3].rejected
    key = job.key(completion)
    (value,) = right.store.get([key])
    planted = value.copy()
    planted[len(planted) // 2] -= np.float32(error)
    other = job.key(job.examples[0].chosen)
    job.store.put({key: planted, other: right.store.get([other])[0]})
    assert run_precompute(job).summary.scored == 14
    assert verify(job.cache, deep=True).ok, "it is what was written"

    (wrong,) = ask(job).wrong
    assert (wrong.key, wrong.row) == (key.hex(), 4)
    assert wrong.max == pytest.approx(error, rel=1e-2)

    (reference,) = whole_references(job.cache)
    assert len(evict(job.cache, reference, [key])) == 1
    again = make_job(job.home.root, **job.spec.model_dump())
    assert run_precompute(again).summary.scored == 1
    assert ask(job).wrong == []


def test_the_sample_has_the_size_that_was_asked_for(job: RunningJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring_pass, "BATCH_TOKENS", {loading.device(): 200})
    run_precompute(job)
    for request, sampled in (
        ({"sample": 3, "percent": False}, 3),
        ({"sample": 25}, 4),
        ({"sample": 0.001}, 1),
        ({"sample": 99, "percent": False}, 16),
    ):
        assert ask(job, **request).sampled == sampled
    assert 0 < ask(job, seconds=0.0).checked < 16, "at least one batch"


def test_what_is_cached_of_other_tokens_is_told(job: RunningJob, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"none of the completions of .*tiny$"):
        ask(job)
    run_precompute(job)
    pairs = tmp_path / "other.jsonl"
    pairs.write_text('{"prompt": "Is it?", "chosen": "Perhaps so.", "rejected": "Perhaps not."}\n' * 2)
    other = make_job(job.home.root, 2, **job.spec.model_dump() | {"data": {"path": str(pairs)}})
    with pytest.raises(
        JobError, match=r"none of .*other\.jsonl is cached for .*; it has 16 of other tokens: the data "
    ):
        ask(other)


def test_nothing_to_compare_is_an_error(job: RunningJob, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"none of the completions of .* is cached"):
        ask(job)
    run_precompute(job)
    other = make_job(
        job.home.root, 2, **job.spec.model_dump() | {"model": str(tiny.build_llama(tmp_path / "x", seed=5))}
    )
    with pytest.raises(JobError, match=r"is now reference .* and was .* when the job ran"):
        ask(other, fingerprint=job.fingerprint.name)


def test_a_jobs_hub_dataset_is_read_at_the_commit_that_the_job_read(
    home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready_home = Home(home)
    ready_home.create()
    spec = homes.make_spec(model=str(tiny_model), data={"path": "org/pairs", "validation": 0.0}, training=None)
    commit = "c0ffee" * 6 + "c0ff"
    freeze(ready_home, 7, spec, Stock(data={"org/pairs": DataState(revision="the newest", commit=commit)}))
    read: list[object] = []

    def read_rows(source: Source, called: str) -> rows.Rows:
        """The newest rows are others."""
        read.append(source.revision)
        row = {"prompt": "Is it?", "chosen": "Yes." if source.revision == commit else "Perhaps.", "rejected": "No."}
        return rows.Rows([row], [rows.Place("org/pairs[train]", 1, "row")])

    monkeypatch.setattr("prefd.daemon.worker.data.pairs.read_rows", read_rows)
    job = RunningJob.load(ready_home, 7)
    run_precompute(job)
    report = ask(job, fingerprint=job.fingerprint.name, commits=job.commits)
    assert (report.cached, report.wrong) == (2, [])
    assert read == [commit, commit]
    assert ask(job).cached == 1, "without its commits it is the newest, of which one answer is new"
