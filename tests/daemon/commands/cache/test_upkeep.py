"""`prefd cache verify`, `compact`, `prune`, `export`, `import` as they are typed."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.segments.layout import chunk_path
from prefd.cache.store import ReferenceCache
from prefd.daemon.commands.cache import verify
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.needed_references import NeededReferences, list_newest_uses, list_references
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker_tasks.inputs import RescoreInput
from support import homes
from support.cache_entries import entries, flip
from support.homes import invoke
from support.jobs_on_disk import make_job, run_precompute
from support.sample_pairs import PAIRS

pytestmark = pytest.mark.usefixtures("answers_in_process")

SMALL = ReferenceFingerprint({"weights": "a", "compute_dtype": "float32"}, {"model": "org/small-model"})
LARGE = ReferenceFingerprint({"weights": "b", "compute_dtype": "float32"}, {"model": "org/large"})
DAY = 86_400.0


@pytest.fixture
def ready_home(home: Path) -> Home:
    """Two references; the small one has three segments of 20 completions, the large one none."""
    there = Home(home)
    there.create()
    cache = ReferenceCache.open(there.cache)
    for seed in range(3):
        cache.reference(SMALL).put(entries(seed=seed))
    cache.reference(LARGE)
    return there


def segments(home: Home) -> list[Path]:
    return sorted((home.cache / "refs" / SMALL.name / "segments").iterdir())


def ask(home: Home, *arguments: object, code: int = Exit.OK) -> dict[str, Any]:
    result = invoke(home, "cache", *arguments, "--json")
    assert result.exit_code == code, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    assert document["schema"] == 1
    return document


def test_verify_of_a_whole_cache(ready_home: Home) -> None:
    result = invoke(ready_home, "cache", "verify", "--deep")
    assert result.exit_code == Exit.OK
    assert "checked 3 segments of 2 references: 60 completions" in result.stdout
    assert "nothing is wrong" in result.stdout
    document = ask(ready_home, "verify", "--reference", SMALL.name[:5].upper())
    assert (document["ok"], document["complete"], document["references"], document["segments"]) == (True, True, 1, 3)
    assert invoke(ready_home, "cache", "verify", "--reference", "zz").exit_code == Exit.NOT_FOUND


def test_verify_finds_damage_and_repairs_it(ready_home: Home) -> None:
    victim = segments(ready_home)[0]
    flip(chunk_path(victim, "logprob"))
    assert ask(ready_home, "verify")["ok"], "a value is read by --deep alone"
    report = ask(ready_home, "verify", "--deep", code=Exit.FAILED)
    (damage,) = report["damage"]
    assert (damage["segment"], damage["rescuable"], damage["to_score"]) == (victim.name, 19, 1)
    result = invoke(ready_home, "cache", "verify", "--deep", "--repair")
    assert result.exit_code == Exit.FAILED
    assert "1 completion to be scored again, 19 can be saved" in result.stdout
    assert "19 completions saved, the rest to" in result.stdout
    after = invoke(ready_home, "cache", "verify", "--deep")
    assert after.exit_code == Exit.OK
    assert "in quarantine (`prefd cache prune` removes it): 1" in after.stderr


def test_verify_says_how_far_it_came(ready_home: Home) -> None:
    document = ask(ready_home, "verify", "--max-duration", "0s")
    assert (document["complete"], document["segments"], document["segments_total"]) == (False, 0, 3)
    assert "0 of 3 segments in the time given" in invoke(ready_home, "cache", "verify", "--max-duration", "0").stdout


def test_verify_of_no_cache(home: Path) -> None:
    there = Home(home)
    there.create()
    assert ask(there, "verify")["ok"]
    assert not list(there.cache.iterdir())


def test_usage_errors_say_what_to_give(ready_home: Home) -> None:
    for arguments, message in (
        (["verify", "--spec", "x"], "--rescore"),
        (["verify", "--rescore", "lots"], "200"),
        (["prune"], "--max-size 2GB"),
        (["prune", "--max-size", "big"], "2GB"),
    ):
        result = invoke(ready_home, "cache", *arguments)
        assert result.exit_code == Exit.USAGE
        assert message in result.stderr


def test_compact_merges_and_later_deletes(ready_home: Home) -> None:
    assert ask(ready_home, "compact", "--dry-run")["merges"][0]["entries"] == 60
    assert len(segments(ready_home)) == 3
    result = invoke(ready_home, "cache", "compact")
    assert result.exit_code == Exit.OK
    assert "merged into" in result.stdout
    assert "3 segments, 60 completions" in result.stdout
    assert len(segments(ready_home)) == 4
    assert "nothing to merge" in invoke(ready_home, "cache", "compact").stdout
    assert len(ask(ready_home, "compact", "--grace", "0s")["deleted"]) == 3
    assert len(segments(ready_home)) == 1
    assert ask(ready_home, "verify", "--deep")["entries"] == 60


def test_export_and_import_carry_completions_over(ready_home: Home, tmp_path: Path) -> None:
    out = tmp_path / "scores.zip"
    assert ask(ready_home, "export", out)["entries"] == 60
    other = Home(tmp_path / "other")
    other.create()
    assert ask(other, "import", out, "--dry-run")["added"] == 60
    assert ask(other, "import", out)["added"] == 60
    assert "0 completions" in invoke(other, "cache", "import", out).stdout
    one = ask(ready_home, "export", out, "--reference", LARGE.name[:6])
    assert (one["references"], one["entries"]) == ([LARGE.name], 0)


def test_export_and_import_that_cannot_be(ready_home: Home, tmp_path: Path) -> None:
    out = tmp_path / "scores.zip"
    assert invoke(ready_home, "cache", "export", out, "--reference", "zz").exit_code == Exit.NOT_FOUND
    assert invoke(ready_home, "cache", "export", tmp_path / "no" / "x.zip").exit_code == Exit.NOT_FOUND
    assert invoke(ready_home, "cache", "import", out).exit_code == Exit.NOT_FOUND
    out.write_text("not a zip")
    result = invoke(ready_home, "cache", "import", out)
    assert result.exit_code == Exit.FAILED
    assert "nothing was imported" in result.stderr
    flip(chunk_path(segments(ready_home)[0], "logprob"))
    result = invoke(ready_home, "cache", "export", out)
    assert result.exit_code == Exit.FAILED
    assert "40 completions" in result.stdout
    assert "was left out" in result.stderr


def test_a_full_disk_is_an_error_in_words_and_loses_nothing(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("prefd.cache.upkeep.stored_reference.write_segment", full)
        result = invoke(ready_home, "cache", "compact")
    assert result.exit_code == Exit.FAILED
    assert "the disk refuses: No space left on device" in result.stderr
    assert ask(ready_home, "verify", "--deep")["entries"] == 60
    assert not list((ready_home.cache / ".tmp").iterdir())


def test_prune_by_use_and_by_size(ready_home: Home) -> None:
    for path, days in zip(segments(ready_home), (40, 3, 20)):
        os.utime(path, (time.time() - days * DAY,) * 2)
    dry = ask(ready_home, "prune", "--unused-for", "30d", "--dry-run")
    assert [each["path"].rpartition("/")[2] for each in dry["removed"]] == [segments(ready_home)[0].name]
    assert len(segments(ready_home)) == 3
    result = invoke(ready_home, "cache", "prune", "--unused-for", "30d")
    assert "not used for 40d00h" in result.stdout
    assert len(segments(ready_home)) == 2
    assert ask(ready_home, "prune", "--max-size", "1GB")["removed"] == []
    assert ask(ready_home, "prune", "--max-size", "0")["freed"] > 0
    assert segments(ready_home) == []


def test_prune_of_one_reference(ready_home: Home) -> None:
    assert len(ask(ready_home, "prune", "--reference", LARGE.name[:8])["removed"]) == 1
    assert [info.fingerprint for info in ReferenceCache.open(ready_home.cache).references()] == [SMALL.name]
    assert invoke(ready_home, "cache", "prune", "--reference", "zz").exit_code == Exit.NOT_FOUND
    assert "starts 2 fingerprints" in prune_of_both(ready_home)


def prune_of_both(ready_home: Home) -> str:
    ReferenceCache.open(ready_home.cache).reference(LARGE)
    return invoke(ready_home, "cache", "prune", "--reference", "").stderr


def test_prune_leaves_what_a_job_needs(ready_home: Home) -> None:
    """The queued job's model is the small reference's, by name."""
    job = homes.add_queued(ready_home)
    result = invoke(ready_home, "cache", "prune", "--max-size", "0")
    assert result.exit_code == Exit.OK
    assert f"job {job.id} needs it" in result.stderr
    assert len(segments(ready_home)) == 3


def test_what_a_job_needs_is_told_without_a_model(ready_home: Home, tiny_model: Path) -> None:
    cache = ReferenceCache.open(ready_home.cache)
    find_needed = NeededReferences(ready_home, list_references(cache), list)
    homes.add_done(ready_home)
    assert find_needed() == {}
    queued = homes.add_queued(ready_home, name="waiting")
    assert find_needed() == {SMALL.name: [f"job {queued.id}"]}
    ran = homes.add_queued(ready_home, name="ran", model="org/large")
    homes.run_folder(ready_home, ran).write_outcome("precompute", homes.precompute_outcome())
    assert find_needed()["3f9a" * 8] == [f"job {ran.id}"], "the reference its first phase used"
    unknown = homes.add_queued(ready_home, name="unknown", model="org/never-seen")
    assert f"job {unknown.id}" in find_needed()[LARGE.name], "it may be any"
    local = homes.add_queued(ready_home, name="local", model=str(tiny_model))
    assert all(f"job {local.id}" not in jobs for jobs in find_needed().values()), "its configuration is no one's"


@pytest.fixture
def scored(home: Path, tiny_model: Path, pairs_file: Path) -> RunningJob:
    """A job whose precompute is done, with one value planted that no checksum can find wrong."""
    job = make_job(home, model=str(tiny_model), data={"path": str(pairs_file)})
    side = job.examples[1].chosen
    job.store.put({job.key(side): np.full(len(side.ids) - side.start, -0.25, dtype=np.float32)})
    job.run.write_outcome("precompute", run_precompute(job))
    return job


@pytest.mark.slow
def test_rescore_asks_about_the_job_that_used_the_reference(
    scored: RunningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[RescoreInput] = []

    def ask_worker(home: Home, task: str, request: RescoreInput, answer: object) -> None:
        questions.append(request)
        raise Failure("enough")

    monkeypatch.setattr(verify, "ask_worker", ask_worker)
    invoke(scored.home, "cache", "verify", "--rescore", "1")
    assert [(each.spec, each.fingerprint) for each in questions] == [(scored.spec, scored.fingerprint.name)]


def test_rescore_finds_a_wrong_value_and_repair_takes_it_out(scored: RunningJob) -> None:
    home = scored.home
    assert list_newest_uses(home)[scored.fingerprint.name].job_id == 1
    ReferenceCache.open(home.cache).reference(LARGE)
    result = invoke(home, "cache", "verify", "--deep", "--rescore", "100%", "--repair")
    assert result.exit_code == Exit.FAILED, result.output
    assert "scored 16 of 16 again" in result.stdout
    assert "wrong: pairs.jsonl:2 of" in result.stdout
    assert "took the wrong values out of 1 segment" in result.stdout
    assert "no job of this home has used it" in result.stderr
    again = make_job(home.root, 2, **scored.spec.model_dump())
    assert run_precompute(again).summary.scored == 1
    report = ask(home, "verify", "--rescore", len(PAIRS), "--reference", scored.fingerprint.name)
    (answer,) = report["rescored"]
    assert (answer["checked"], answer["wrong"], answer["job"]) == (len(PAIRS), [], 1)
