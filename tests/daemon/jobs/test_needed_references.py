"""Which references jobs need: told at every stage of a spec's way, so that prune never takes one from under a job."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep import removals
from prefd.cache.upkeep.prune import prune
from prefd.cache.upkeep.removals import PruneLimits
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.inbox.claims import Inbox
from prefd.daemon.inbox.submit import submit
from prefd.daemon.jobs.needed_references import NeededReferences, list_references
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.machine.files import write_json
from prefd.daemon.service import waiting_specs as waiting_module
from prefd.daemon.service.waiting_specs import list_waiting_specs
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.job import RunningJob
from support import homes
from support.cache_entries import entries
from support.homes import invoke
from support.jobs_on_disk import run_precompute, run_training
from support.sample_pairs import PAIRS

SMALL = ReferenceFingerprint({"weights": "a"}, {"model": "org/small-model"})
LARGE = ReferenceFingerprint({"weights": "b"}, {"model": "org/large"})
FOLDER = ReferenceFingerprint({"weights": "c", "config": "0"}, {"model": "/models/copy"})


@pytest.fixture
def ready_home(home: Path) -> Home:
    """Two references with a segment each."""
    there = Home(home)
    there.create()
    cache = ReferenceCache.open(there.cache)
    for fingerprint in (SMALL, LARGE):
        cache.reference(fingerprint).put(entries())
    return there


def needed_references(home: Home, cache: ReferenceCache) -> NeededReferences:
    return NeededReferences(home, list_references(cache), partial(list_waiting_specs, home))


def list_needed(home: Home) -> dict[str, list[str]]:
    return needed_references(home, ReferenceCache.open(home.cache))()


def test_a_spec_is_seen_on_all_of_its_way(ready_home: Home) -> None:
    submit(ready_home, homes.make_spec().model_dump(mode="json"), "ipo.yaml")
    assert list_needed(ready_home) == {SMALL.name: ["the spec ipo.json"]}, "dropped, no daemon is running"
    claimed = Inbox(ready_home, settle_seconds=0).claim("ipo.json")
    assert claimed is not None
    assert list_needed(ready_home) == {SMALL.name: ["the spec ipo.json"]}, "claimed, a crash came before its row"
    with JobTable.open(ready_home.database) as jobs:
        job = jobs.add(homes.make_spec(), claimed.source)
        assert list_needed(ready_home) == {SMALL.name: [f"job {job.id}"]}
        jobs.request_cancel(job.id)
    assert list_needed(ready_home) == {}


def test_a_spec_that_is_claimed_as_one_looks_is_not_passed_over(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(ready_home, homes.make_spec().model_dump(mode="json"), "ipo.yaml")
    real = waiting_module._files

    def list_and_claim(folder: Path) -> list[Path]:
        files = real(folder)
        if folder == ready_home.jobs:
            assert Inbox(ready_home, settle_seconds=0).claim("ipo.json") is not None
        return files

    monkeypatch.setattr(waiting_module, "_files", list_and_claim)
    assert list_needed(ready_home) == {SMALL.name: ["the spec ipo.json"]}


def test_a_sweep_that_waits_needs_the_references_of_all_its_jobs(ready_home: Home) -> None:
    document = homes.make_spec().model_dump(mode="json", exclude_unset=True)
    submit(ready_home, document | {"sweep": {"loss.beta": [0.1, 0.2]}}, "betas.yaml")
    assert list_needed(ready_home) == {SMALL.name: ["the spec betas.json"]}
    submit(ready_home, document | {"sweep": {"model": ["org/small-model", "org/large"]}}, "models.yaml")
    assert list_needed(ready_home)[LARGE.name] == ["the spec models.json"]
    assert list_needed(ready_home)[SMALL.name] == ["the spec betas.json", "the spec models.json"]


def test_what_will_be_no_job_needs_nothing(ready_home: Home) -> None:
    (ready_home.jobs / "broken.yaml").write_text("model: [")
    (ready_home.jobs / ".hidden.yaml").write_text("model: org/small-model")
    (ready_home.jobs / "notes.txt").write_text("model: org/small-model")
    (ready_home.jobs / "link.yaml").symlink_to("/dev/zero")
    assert list_needed(ready_home) == {}


def test_a_hub_id_may_have_been_scored_as_a_folder(ready_home: Home) -> None:
    """Under another name, so the one that has its name is not the only one it may be."""
    ReferenceCache.open(ready_home.cache).reference(FOLDER)
    homes.add_queued(ready_home)
    assert list_needed(ready_home).keys() == {SMALL.name, FOLDER.name}


def test_a_reference_with_damaged_attributes_may_be_anyones(ready_home: Home) -> None:
    (ready_home.cache / "refs" / LARGE.name / "zarr.json").write_text("{")
    homes.add_queued(ready_home)
    assert list_needed(ready_home).keys() == {SMALL.name, LARGE.name}


def test_a_job_that_is_submitted_while_prune_is_at_work_keeps_what_it_needs(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_aside = removals.set_aside

    def and_submit(*arguments: Any) -> Any:
        if not list(ready_home.jobs.glob("*.json")):
            submit(ready_home, homes.make_spec().model_dump(mode="json"), "ipo.yaml")
        return set_aside(*arguments)

    monkeypatch.setattr(removals, "set_aside", and_submit)
    for command in (["--max-size", "0"], ["--reference", SMALL.name]):
        result = invoke(ready_home, "cache", "prune", *command)
        assert result.exit_code == Exit.OK
        assert f"{SMALL.name[:12]} stays: the spec ipo.json needs it" in result.stderr
        (ready_home.jobs / "ipo.json").unlink()
    cache = ReferenceCache.open(ready_home.cache)
    assert len(cache.reference(SMALL).missing(list(entries()))) == 0
    assert len(cache.reference(LARGE).missing(list(entries()))) == len(entries()), "the one nobody needs"


@contextmanager
def pruned_all_the_time(home: Home) -> Iterator[list[int]]:
    """`prune --max-size 0`, again and again in a thread; yields the bytes that each has freed."""
    stop, freed = threading.Event(), list[int]()

    def work() -> None:
        while not stop.is_set():
            cache = ReferenceCache.open(home.cache)
            report = prune(cache, PruneLimits(max_size=0, needed=needed_references(home, cache)))
            freed.append(report.freed)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            yield freed
        finally:
            stop.set()
            working.result()


@pytest.mark.slow
def test_jobs_that_run_while_everything_is_pruned_score_again_and_never_fail(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    """Between jobs all is lost; from the moment a job is in the table until it has ended, nothing that it needs is."""
    there = Home(home)
    there.create()
    ReferenceCache.open(there.cache)
    spec = JobSpec.model_validate(
        {
            "model": str(tiny_model),
            "data": {"path": str(pairs_file), "validation": 0.0},
            "loss": {"name": "sigmoid"},
            "training": {"iters": 1, "batch_size": 2},
        }
    )
    with pruned_all_the_time(there) as freed, JobTable.open(there.database) as jobs:
        for _ in range(2):
            row = jobs.add(spec, "ipo.json", owner="run:1")
            folder = there.job(row.id)
            folder.mkdir(exist_ok=True)
            write_json(folder / "spec.json", json.loads(spec.model_dump_json()))
            jobs.transition(row.id, "precomputing")
            job = RunningJob.load(there, row.id)
            outcome = run_precompute(job)
            job.run.write_outcome("precompute", outcome)
            assert outcome.summary.scored == 2 * len(PAIRS), "all of it was gone"
            jobs.transition(row.id, "training")
            so_far = len(freed)
            while len(freed) < so_far + 2:  # a whole prune between the phases, where nobody has the segments open
                threading.Event().wait(0.01)
            assert run_training(RunningJob.load(there, row.id)).ok
            jobs.transition(row.id, "done")
            while not any(freed[so_far:]):
                threading.Event().wait(0.01)
