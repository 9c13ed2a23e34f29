"""A shared cache whose object store refuses, stalls, loses or damages things, and mirrors that lose theirs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from prefd.cache.segments.layout import chunk_path
from prefd.cache.segments.segment import Segment
from prefd.cache.shared.bucket import Bucket
from prefd.cache.shared.cache import SharedCache
from prefd.cache.shared.prune import prune_shared
from prefd.cache.shared.segments import SharedSegments
from prefd.cache.shared.verify import verify_shared
from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep.removals import PruneLimits
from prefd.cache.upkeep.verify import repair, verify
from support.cache_entries import entries, flip
from support.faulty_object_store import (
    FaultyStore,
    Rule,
    environment,
    faulty_store,
    flip_object,
    moto,
    new_prefix,
    obey,
)
from support.mirrors import FINGERPRINT, assert_has, connect_mirror, prune_all, remote

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def store() -> Iterator[FaultyStore]:
    with moto() as address, faulty_store(address) as bucket_store:
        yield bucket_store


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A folder as the object store: fast, where nothing has to go wrong on the way."""
    return f"file://{tmp_path}/store"


@pytest.fixture
def s3(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name, value in environment(store.address).items():
        monkeypatch.setenv(name, value)
    store.rule = obey
    yield new_prefix(store.address)
    store.rule = obey


def refuse(status: int, methods: str, part: str = "") -> Rule:
    return lambda method, path: status if method in methods and part in path else None


# an object store that refuses


@pytest.mark.parametrize(("status", "part"), [(403, "/segments/"), (507, "logprob/c/0"), (503, "/sum/")])
def test_a_put_refused_midway_fails_no_job_and_commits_nothing_there(
    s3: str, store: FaultyStore, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int, part: str
) -> None:
    values = entries()
    writer = connect_mirror(s3, tmp_path / "a").reference(FINGERPRINT)
    store.rule = refuse(status, "PUT", part)
    writer.put(values)
    assert_has(writer, values)
    assert "uploading is not possible now" in caplog.text
    store.rule = obey
    assert len(connect_mirror(s3, tmp_path / "b").reference(FINGERPRINT).missing(list(values))) == len(values)
    assert_has(connect_mirror(s3, tmp_path / "a").reference(FINGERPRINT), values)
    assert_has(connect_mirror(s3, tmp_path / "b").reference(FINGERPRINT), values)


def test_a_store_that_asks_to_slow_down_gets_its_time(s3: str, store: FaultyStore, tmp_path: Path) -> None:
    refused = set[str]()

    def once_each(method: str, path: str) -> int | None:
        if path in refused or len(refused) > 12:
            return None
        refused.add(path)
        return 503

    values = entries()
    store.rule = once_each
    SharedCache.connect(s3, tmp_path / "a").reference(FINGERPRINT).put(values)
    assert len(refused) > 10
    assert len(remote(s3).list_committed()) == 1


def test_a_read_only_key_fetches_and_says_once_that_it_cannot_upload(
    s3: str, store: FaultyStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    theirs, mine = entries(seed=1), entries(seed=2)
    connect_mirror(s3, tmp_path / "a").reference(FINGERPRINT).put(theirs)
    store.rule = refuse(403, "PUT")
    reader = connect_mirror(s3, tmp_path / "b").reference(FINGERPRINT)
    for key, value in list(mine.items())[:3]:
        reader.put({key: value})
    assert_has(reader, theirs | dict(list(mine.items())[:3]))
    assert caplog.text.count("uploading is not possible now") == 1


def test_a_store_that_is_away_is_asked_once_and_not_again_soon(s3: str, store: FaultyStore, tmp_path: Path) -> None:
    reference = connect_mirror(s3, tmp_path / "a").reference(FINGERPRINT)
    store.rule = refuse(503, "GET PUT")
    reference.refresh()
    before = len(store.seen)
    for key, value in entries(4).items():
        reference.put({key: value})
    assert len(store.seen) - before <= 12, "the first upload"


# objects that go, or are damaged


def test_a_segment_that_is_withdrawn_while_it_is_fetched_is_no_damage(
    s3: str, store: FaultyStore, tmp_path: Path
) -> None:
    gone, stays = entries(seed=1), entries(seed=2)
    writer = connect_mirror(s3, tmp_path / "a").reference(FINGERPRINT)
    victim = str(writer.put(gone))
    writer.put(stays)

    def withdraw(method: str, path: str) -> int | None:
        if method == "GET" and f"{victim}/key/" in path:
            store.rule = obey
            remote(s3).withdraw(victim)
        return None

    store.rule = withdraw
    reader = connect_mirror(s3, tmp_path / "b").reference(FINGERPRINT)
    assert_has(reader, stays)
    assert len(reader.missing(list(gone))) == len(gone)
    assert not reader.damage
    assert not list((tmp_path / "b" / ".tmp").iterdir())


def test_a_segment_whose_upload_ends_while_it_is_looked_at_is_no_damage(
    s3: str, store: FaultyStore, tmp_path: Path
) -> None:
    values = entries()
    name = str(connect_mirror(s3, tmp_path / "a").reference(FINGERPRINT).put(values))
    store.rule = lambda method, path: 404 if method == "GET" and path.endswith(f"{name}/zarr.json") else None
    reader = connect_mirror(s3, tmp_path / "b").reference(FINGERPRINT)
    assert len(reader.missing(list(values))) == len(values)
    store.rule = obey
    assert not reader.damage
    assert_has(reader, values)


def test_an_object_that_is_lost_is_damage_and_the_rest_is_fetched(url: str, tmp_path: Path) -> None:
    lost, stays = entries(seed=1), entries(seed=2)
    writer = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    victim = str(writer.put(lost))
    writer.put(stays)
    Bucket(url).delete([f"{remote(url).prefix}/{victim}/crc/c/0"])
    reader = connect_mirror(url, tmp_path / "b").reference(FINGERPRINT)
    assert_has(reader, stays)
    assert len(reader.missing(list(lost))) == len(lost)
    (message,) = reader.damage.values()
    assert url in message
    assert victim in message
    assert "an object is missing" in message
    reader.put(lost)  # it is scored again
    assert_has(connect_mirror(url, tmp_path / "c").reference(FINGERPRINT), lost | stays)


def test_a_full_disk_here_stops_nobody_who_need_not_write(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    values = entries()
    connect_mirror(url, tmp_path / "a").reference(FINGERPRINT).put(values)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "download", full)
        reader = connect_mirror(url, tmp_path / "b").reference(FINGERPRINT)
        assert len(reader.missing(list(values))) == len(values)
    assert "No space left on device" in caplog.text
    assert not list((tmp_path / "b" / ".tmp").iterdir())


def test_a_damaged_segment_is_not_uploaded(url: str, tmp_path: Path) -> None:
    values = entries()
    plain = ReferenceCache.open(tmp_path / "a").reference(FINGERPRINT)
    name = str(plain.put(values))
    flip(chunk_path(plain.folder / name, "logprob"))
    shared = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    assert name in shared.damage
    assert remote(url).list_committed() == set()


def test_pruning_an_s3_bucket_that_refuses_midway_leaves_no_half_segment(
    s3: str, store: FaultyStore, tmp_path: Path
) -> None:
    values = entries()
    cache = connect_mirror(s3, tmp_path / "a")
    cache.reference(FINGERPRINT).put(values)
    deletes = []

    def second_delete(method: str, path: str) -> int | None:
        deletes.extend([path] * (method == "POST"))
        return 403 if len(deletes) > 1 else None

    store.rule = second_delete
    with pytest.raises(cache.bucket.errors):
        prune_shared(cache, PruneLimits(max_size=0))
    store.rule = obey
    assert remote(s3).list_committed() == set()
    assert len(remote(s3).list_names()) == 1
    reader = connect_mirror(s3, tmp_path / "b").reference(FINGERPRINT)
    assert len(reader.missing(list(values))) == len(values)
    assert not reader.damage
    assert_has(connect_mirror(s3, tmp_path / "a").reference(FINGERPRINT), values)
    assert [each.why for each in prune_shared(cache, PruneLimits()).removed] == ["pruned before, but not wholly"]
    assert remote(s3).list_names() == set()
    assert verify_shared(cache).segments == 0


def test_a_segment_that_is_pruned_before_it_is_uploaded_is_no_damage(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = SharedSegments.upload

    def too_late(self: SharedSegments, segment: Segment) -> None:
        prune_all(tmp_path / "a")
        upload(self, segment)

    monkeypatch.setattr(SharedSegments, "upload", too_late)
    reference = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    reference.put(entries())
    assert not reference.damage
    assert remote(url).list_committed() == set()


# damage here


@pytest.mark.parametrize("array", ["logprob", "key", "crc", "zarr.json"])
def test_what_is_damaged_here_is_fetched_again_and_not_scored(
    url: str, tmp_path: Path, array: str, caplog: pytest.LogCaptureFixture
) -> None:
    values = entries()
    reference = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    segment = reference.folder / str(reference.put(values))
    flip(segment / array if array == "zarr.json" else chunk_path(segment, array))
    again = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    assert_has(again, values)
    assert not again.damage
    assert "was damaged here, and has been fetched again" in caplog.text
    assert [path.name for path in (segment.parents[1] / "quarantine").iterdir()] == [segment.name]
    assert verify(connect_mirror(url, tmp_path / "a"), deep=True).ok


def test_a_reader_that_meets_damage_while_training_goes_on(url: str, tmp_path: Path) -> None:
    values = entries()
    reference = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    flip(chunk_path(reference.folder / str(reference.put(values)), "logprob"))
    reader = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    for actual, value in zip(reader.get(list(values)), values.values()):
        np.testing.assert_array_equal(actual, value)


def test_damage_on_both_sides_is_scored_again(url: str, tmp_path: Path) -> None:
    values = entries()
    reference = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    name = str(reference.put(values))
    flip(chunk_path(reference.folder / name, "logprob"))
    flip_object(url, f"{remote(url).prefix}/{name}/logprob/c/0")
    reader = connect_mirror(url, tmp_path / "a").reference(FINGERPRINT)
    missing = reader.missing(list(values))
    assert len(missing) == 1
    reader.put({key: values[key] for key in missing})
    assert_has(reader, values)


def test_repair_takes_the_whole_copy_of_the_object_store(url: str, tmp_path: Path) -> None:
    values = entries()
    cache = connect_mirror(url, tmp_path / "a")
    reference = cache.reference(FINGERPRINT)
    segment = reference.folder / str(reference.put(values))
    shutil.rmtree(segment / "logprob")
    (fix,) = repair(cache, verify(cache).damage)
    assert (fix.fetched, fix.rescued) == (True, 0)
    assert verify(cache, deep=True).ok
    assert [path.name for path in segment.parent.iterdir()] == [segment.name], "nothing was put in its place"
    assert_has(cache.reference(FINGERPRINT), values)


# what it costs


def test_a_refresh_of_what_is_here_lists_names_and_fetches_nothing(s3: str, store: FaultyStore, tmp_path: Path) -> None:
    writer = connect_mirror(s3, tmp_path / "a").reference(FINGERPRINT)
    values = entries(6)
    for key, value in values.items():
        writer.put({key: value})
    reader = connect_mirror(s3, tmp_path / "b").reference(FINGERPRINT)
    assert_has(reader, values)
    store.seen.clear()
    reader.refresh()
    assert [(method, "delimiter=" in path) for method, path in store.seen] == [("GET", True)]
    store.seen.clear()
    connect_mirror(s3, tmp_path / "b").reference(FINGERPRINT)
    assert store.count("GET", "list-type") == len([each for each in store.seen if each[0] == "GET"]) == 1
