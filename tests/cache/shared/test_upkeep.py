"""Looking after the object store: what is pruned there is gone there and nowhere else; what is damaged is put again."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.shared import prune, verify
from prefd.cache.shared.bucket import Bucket
from prefd.cache.shared.cache import SharedCache
from prefd.cache.shared.prune import prune_shared
from prefd.cache.shared.segments import SharedSegments
from prefd.cache.shared.verify import verify_shared
from prefd.cache.upkeep.compact import compact
from prefd.cache.upkeep.removals import PruneLimits
from prefd.cache.upkeep.rescue import evict
from prefd.cache.upkeep.stored_reference import whole_references
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from support import homes
from support.cache_entries import Entries, entries
from support.faulty_object_store import flip_object
from support.homes import invoke
from support.mirrors import FINGERPRINT, assert_has, connect_mirror, remote

OTHER = ReferenceFingerprint({"weights": "other"}, {"model": "org/small-model"})
DAY = 86_400.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A folder as the object store."""
    return f"file://{tmp_path}/store"


@pytest.fixture
def cache(url: str, tmp_path: Path) -> SharedCache:
    """Two segments of one reference, and one of another, in the object store and in a mirror."""
    cache = connect_mirror(url, tmp_path / "mine")
    for seed in (1, 2):
        cache.reference(FINGERPRINT).put(entries(seed=seed))
    cache.reference(OTHER).put(entries(seed=3))
    return cache


def objects(url: str) -> set[str]:
    return {f"refs/{name}" for name in Bucket(url).list_objects("refs") if "/segments/" in name}


def segments(url: str) -> set[str]:
    return remote(url).list_names()


def age(url: str, seconds: float, part: str = "") -> None:
    """Let the objects have been put so long ago."""
    for path in Path(url.removeprefix("file://")).rglob("*"):
        if part in str(path):
            os.utime(path, (time.time() - seconds,) * 2)


def a_stranger_has(url: str, folder: Path, values: Entries) -> int:
    """How many of `values` a new mirror gets."""
    return len(values) - len(connect_mirror(url, folder).reference(FINGERPRINT).missing(list(values)))


# prune


def test_a_pruned_reference_is_gone_there_and_stays_here(url: str, cache: SharedCache, tmp_path: Path) -> None:
    values = entries(seed=1) | entries(seed=2)
    other = connect_mirror(url, tmp_path / "theirs")
    assert_has(other.reference(FINGERPRINT), values)
    before = objects(url)
    dry = prune_shared(cache, PruneLimits(reference=FINGERPRINT.name, dry_run=True))
    assert objects(url) == before
    report = prune_shared(cache, PruneLimits(reference=FINGERPRINT.name))
    assert [each.path for each in report.removed] == [each.path for each in dry.removed]
    assert (len(report.removed), report.freed, report.kept) == (2, dry.freed, dry.kept)
    assert segments(url) == set()
    assert all(OTHER.name in name for name in objects(url))
    for mirror in (cache, other):
        assert_has(mirror.reference(FINGERPRINT), values)
    assert segments(url) == set(), "nobody uploads it again"
    assert a_stranger_has(url, tmp_path / "new", values) == 0
    cache.reference(FINGERPRINT).put({bytes(32): next(iter(values.values()))})
    assert len(segments(url)) == 1, "what is new is shared as before"


def test_the_longest_unused_go_first_by_when_they_were_put_or_used_here(url: str, cache: SharedCache) -> None:
    first, second = sorted(segments(url))
    age(url, 40 * DAY)
    for path in cache.path.glob("refs/*/segments/*"):
        os.utime(path, (time.time() - (20 if path.name == first else 10) * DAY,) * 2)
    assert prune_shared(cache, PruneLimits(unused_for=30 * DAY)).removed == []
    dry = prune_shared(cache, PruneLimits(max_size=0, dry_run=True))
    assert [round(each.unused_s / DAY) for each in dry.removed] == [20, 10, 10]
    size = dry.freed
    (gone,) = prune_shared(cache, PruneLimits(max_size=size - 1)).removed
    assert gone.path.endswith(first)
    assert segments(url) == {second}
    assert len(prune_shared(cache, PruneLimits(unused_for=5 * DAY)).removed) == 2


def test_what_a_job_needs_stays_there(url: str, cache: SharedCache) -> None:
    report = prune_shared(cache, PruneLimits(max_size=0, needed=lambda: {FINGERPRINT.name}))
    assert (report.protected, len(report.removed)) == ([FINGERPRINT.name], 1)
    assert len(segments(url)) == 2


def test_unfinished_uploads_go_after_a_day_and_may_be_finished_later(
    url: str, cache: SharedCache, tmp_path: Path
) -> None:
    victim = min(segments(url))
    Bucket(url).delete([f"{remote(url).prefix}/{victim}/zarr.json"])
    assert prune_shared(cache, PruneLimits()).removed == [], "it may be in the middle of it"
    age(url, 2 * DAY, victim)
    (gone,) = prune_shared(cache, PruneLimits()).removed
    assert gone.why == "an upload that was never finished"
    assert victim not in segments(url)
    connect_mirror(url, cache.path).reference(FINGERPRINT)
    assert a_stranger_has(url, tmp_path / "new", entries(seed=1) | entries(seed=2)) == 40


def test_what_a_compaction_replaced_goes_when_the_merged_one_is_whole_and_settled(
    url: str, cache: SharedCache, tmp_path: Path
) -> None:
    values = entries(seed=1) | entries(seed=2)
    before = segments(url)
    for stored in whole_references(cache):
        compact(stored)
    (merged,) = (segment.id for segment in cache.reference(FINGERPRINT).segments)
    assert segments(url) == before | {merged}
    assert prune_shared(cache, PruneLimits()).removed == [], "a reader may fetch them at this moment"
    age(url, 2 * DAY)
    flip_object(url, f"{remote(url).prefix}/{merged}/logprob/c/0")
    age(url, 2 * DAY)
    assert prune_shared(cache, PruneLimits()).removed == [], "they are the only whole copy there"
    flip_object(url, f"{remote(url).prefix}/{merged}/logprob/c/0")
    age(url, 2 * DAY)
    assert {each.why for each in prune_shared(cache, PruneLimits()).removed} == {"replaced by a compaction"}
    assert segments(url) == {merged}
    assert a_stranger_has(url, tmp_path / "new", values) == 40


def test_a_crash_while_pruning_leaves_nothing_that_is_taken_for_whole(
    url: str, cache: SharedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = entries(seed=1) | entries(seed=2)
    delete = Bucket.delete

    def commit_only(self: Bucket, names: list[str]) -> None:
        delete(self, names)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "delete", commit_only)
        with pytest.raises(KeyboardInterrupt):
            prune_shared(cache, PruneLimits(reference=FINGERPRINT.name))
    assert a_stranger_has(url, tmp_path / "new", values) == 20
    assert not connect_mirror(url, tmp_path / "new").reference(FINGERPRINT).damage
    connect_mirror(url, cache.path).reference(FINGERPRINT)
    assert a_stranger_has(url, tmp_path / "newer", values) == 20, "it was not completed again"
    assert [each.why for each in prune_shared(cache, PruneLimits()).removed] == ["pruned before, but not wholly"]
    assert len(segments(url)) == 1


# verify


def test_verify_fetches_everything_and_keeps_nothing(url: str, cache: SharedCache) -> None:
    report = verify_shared(cache)
    assert (report.segments, report.segments_total, report.damage) == (3, 3, [])
    assert not list(cache.staging.iterdir())
    assert verify_shared(cache, prefix=OTHER.name[:6]).segments == 1
    assert verify_shared(cache, deadline=time.monotonic()).segments == 0


@pytest.mark.parametrize("file", ["logprob/c/0", "zarr.json"])
def test_damage_there_is_told_and_put_again_by_a_mirror_that_has_it_whole(
    url: str, cache: SharedCache, tmp_path: Path, file: str
) -> None:
    values = entries(seed=1) | entries(seed=2)
    victim = min(segments(url))
    flip_object(url, f"{remote(url).prefix}/{victim}/{file}")
    (message,) = verify_shared(cache).damage
    assert (message.segment, url in message.what, ".tmp" in message.what) == (victim, True, False)
    stranger = connect_mirror(url, tmp_path / "new")
    report = verify_shared(stranger, repair=True)
    assert (report.uploaded, report.deleted) == ([], [victim])
    assert victim not in segments(url)
    assert a_stranger_has(url, stranger.path, values) == 20
    connect_mirror(url, cache.path).reference(FINGERPRINT)  # the mirror that has it
    assert a_stranger_has(url, stranger.path, values) == 40
    flip_object(url, f"{remote(url).prefix}/{victim}/{file}")
    assert verify_shared(cache, repair=True).uploaded == [victim]
    assert verify_shared(cache).damage == []


def test_a_reference_whose_attributes_are_lost_there_is_left_alone(url: str, cache: SharedCache) -> None:
    (cache.path / "refs" / OTHER.name / "zarr.json").unlink()
    Bucket(url).delete([f"refs/{OTHER.name}/zarr.json"])
    before = objects(url)
    report = verify_shared(cache, repair=True)
    assert [each.reference for each in report.damage] == [OTHER.name]
    assert report.deleted == []
    assert objects(url) == before


def test_a_wrong_value_that_is_evicted_here_leaves_the_object_store_too(
    url: str, cache: SharedCache, tmp_path: Path
) -> None:
    values = entries(seed=1)
    (stored,) = whole_references(cache, FINGERPRINT.name)
    wrong = min(values)
    assert len(evict(cache, stored, [wrong])) == 1
    again = connect_mirror(url, cache.path).reference(FINGERPRINT)
    assert again.missing(list(values)) == [wrong]
    again.put({wrong: values[wrong]})
    assert_has(connect_mirror(url, tmp_path / "new").reference(FINGERPRINT), values)


# as commands


@pytest.fixture
def home(url: str, cache: SharedCache, tmp_path: Path) -> Home:
    """A home whose cache is a mirror of the object store."""
    home = Home(tmp_path / "home")
    home.create()
    home.config.write_text(f"cache_url = {json.dumps(url)}\n")
    shared = connect_mirror(url, home.cache)
    shared.reference(FINGERPRINT)
    return home


def ask(home: Home, *arguments: object, code: int = Exit.OK) -> dict[str, Any]:
    result = invoke(home, "cache", *arguments, "--json")
    assert result.exit_code == code, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_prune_says_which_of_the_two_it_acts_on(url: str, home: Home) -> None:
    here = invoke(home, "cache", "prune", "--max-size", "0")
    assert here.exit_code == Exit.OK, here.output
    assert f"this is about {home.cache}, the mirror of {url}" in here.stderr
    assert len(segments(url)) == 2
    dry = ask(home, "prune", "--shared", "--reference", FINGERPRINT.name[:6], "--dry-run")
    assert (dry["cache"], len(dry["removed"])) == (url, 2)
    assert len(segments(url)) == 2
    there = invoke(home, "cache", "prune", "--shared", "--reference", FINGERPRINT.name[:6])
    assert f"this is about {url}, and not its mirror" in there.stderr
    assert segments(url) == set()


def test_prune_there_leaves_what_a_job_of_this_home_needs(url: str, home: Home) -> None:
    """The queued job's model is the other reference's by name; it has never been here."""
    job = homes.add_queued(home)
    assert not (home.cache / "refs" / OTHER.name).exists()
    result = invoke(home, "cache", "prune", "--shared", "--max-size", "0")
    assert result.exit_code == Exit.OK, result.output
    assert f"{OTHER.name[:12]} stays: job {job.id} needs it" in result.stderr
    assert SharedSegments(Bucket(url), OTHER.name, OTHER.sha256).list_names()


def test_verify_there_and_its_repair(url: str, home: Home) -> None:
    victim = min(segments(url))
    flip_object(url, f"{remote(url).prefix}/{victim}/crc/c/0")
    report = ask(home, "verify", "--shared", code=Exit.FAILED)
    assert [each["segment"] for each in report["damage"]] == [victim]
    result = invoke(home, "cache", "verify", "--shared", "--repair")
    assert f"repaired {victim}: uploaded again from here" in result.stdout
    assert "nothing is wrong" in invoke(home, "cache", "verify", "--shared").stdout


def test_import_uploads_and_export_fetches(url: str, home: Home, cache: SharedCache, tmp_path: Path) -> None:
    cache.reference(FINGERPRINT).put(entries(seed=7))
    out = tmp_path / "out.zip"
    assert ask(home, "export", out)["entries"] == 60
    for name in segments(url):
        remote(url).withdraw(name)
    elsewhere = Home(tmp_path / "elsewhere")
    elsewhere.create()
    elsewhere.config.write_text(home.config.read_text())
    assert ask(elsewhere, "import", out)["added"] == 60
    assert a_stranger_has(url, tmp_path / "new", entries(seed=7)) == 20


def test_shared_needs_a_cache_url_and_an_object_store_that_answers(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Access Denied")

    with monkeypatch.context() as patch:
        patch.setattr(prune, "list_segments", refused)
        patch.setattr(verify, "list_segments", refused)
        for command in (["prune", "--max-size", "0"], ["verify"]):
            result = invoke(home, "cache", *command, "--shared")
            assert result.exit_code == Exit.FAILED
            assert "Access Denied" in result.stderr
    home.config.write_text("")
    result = invoke(home, "cache", "verify", "--shared")
    assert result.exit_code == Exit.USAGE
    assert "there is no cache_url in" in result.stderr
