"""The store: missing, get, put, several writers, damage, and what is refused."""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ulid import ULID

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.reference import MissingEntry, Reference
from prefd.cache.segments.segment import chunk_path
from prefd.cache.segments.values import InvalidLogprobs
from prefd.cache.store import NotACache, ReferenceCache
from support.cache_entries import entries

FINGERPRINT = ReferenceFingerprint({"weights": "w"}, {"model": "m"})


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    return ReferenceCache.open(tmp_path / "cache").reference(FINGERPRINT)


def again(reference: Reference) -> Reference:
    """The same store, opened by somebody else."""
    return ReferenceCache.open(reference.folder.parents[2]).reference(FINGERPRINT)


def test_what_was_put_is_there_for_everyone(reference: Reference) -> None:
    other = again(reference)
    values = entries()
    assert other.missing(list(values)) == list(values)
    reference.put(values)
    for reader in (reference, other, again(reference)):
        assert reader.missing(list(values)) == []
        for actual, value in zip(reader.get(list(values)), values.values()):
            np.testing.assert_array_equal(actual, value)


def test_missing_keeps_order_and_finds_only_what_is_absent(reference: Reference) -> None:
    have, have_not = entries(seed=1), entries(seed=2)
    reference.put(have)
    mixed = [key for pair in zip(have, have_not) for key in pair]
    assert reference.missing(mixed) == list(have_not)
    assert reference.missing([]) == []


def test_equal_prefixes_are_told_apart(reference: Reference) -> None:
    first, second, absent = (b"\x07" * 8 + bytes([last]) * 24 for last in (1, 2, 3))
    reference.put({first: np.float32([-1.0])})
    reference.put({second: np.float32([-2.0, -3.0])})
    assert reference.missing([second, absent, first]) == [absent]
    np.testing.assert_array_equal(reference.get([second])[0], np.float32([-2.0, -3.0]))


def test_two_that_score_the_same_key_both_end_with_the_first_segment(reference: Reference) -> None:
    key = b"k" * 32
    other = again(reference)
    reference.put({key: np.float32([-1.0])})
    other.put({key: np.float32([-1.5])})
    for reader in (reference, other, again(reference)):
        reader.refresh()
        assert reader.get([key])[0][0] == -1.0


def test_an_absent_entry_is_named(reference: Reference) -> None:
    with pytest.raises(MissingEntry, match="6162"):
        reference.get([b"ab" + bytes(30)])


def test_what_cannot_be_a_logprob_is_refused_and_nothing_is_kept(reference: Reference) -> None:
    good, bad = b"g" * 32, b"b" * 32
    with pytest.raises(InvalidLogprobs, match="token 1 is above 0") as caught:
        reference.put({good: np.float32([-1.0]), bad: np.float32([-1.0, 0.5])})
    assert caught.value.key == bad
    assert reference.missing([good, bad]) == [good, bad]
    assert list(reference.staging.iterdir()) == []


def test_a_damaged_entry_is_a_reported_miss_and_heals_when_scored_again(
    reference: Reference, caplog: pytest.LogCaptureFixture
) -> None:
    values = entries()
    name = reference.put(values)
    chunk = chunk_path(reference.folder / str(name), "logprob")
    data = bytearray(chunk.read_bytes())
    data[0] ^= 1
    chunk.write_bytes(bytes(data))
    victim = min(values)
    reader = again(reference)
    with caplog.at_level(logging.WARNING):
        assert reader.missing(list(values)) == [victim]
    assert "does not match its checksum" in caplog.text
    with pytest.raises(MissingEntry):
        reader.get([victim])
    reader.put({victim: values[victim]})
    np.testing.assert_array_equal(again(reference).get([victim])[0], values[victim])


def test_a_damaged_segment_is_a_miss_and_listed(reference: Reference) -> None:
    lost, whole = entries(seed=3), entries(seed=4)
    name = str(reference.put(lost))
    reference.put(whole)
    shutil.rmtree(reference.folder / name / "offset")
    reader = again(reference)
    assert reader.missing([*lost, *whole]) == list(lost)
    (info,) = ReferenceCache.open(reference.folder.parents[2]).references()
    assert (info.segments, info.entries) == (1, len(whole))
    assert name in info.damaged[0] or name in next(iter(reader.damage))


def test_an_unfinished_write_is_seen_by_nobody(reference: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    values = entries()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("prefd.cache.segments.durable.flush", full)
    with pytest.raises(OSError, match="No space left"):
        reference.put(values)
    monkeypatch.undo()
    assert again(reference).missing(list(values)) == list(values)
    assert list(reference.staging.iterdir()) == []
    reference.put(values)
    assert again(reference).missing(list(values)) == []


def test_a_put_is_acknowledged_after_all_that_leads_to_it_was_flushed(
    reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of every view flushes the folder's own name: another writer may have made it, and not flushed it yet."""
    other = again(reference)
    flushed: list[int | str] = []
    monkeypatch.setattr("prefd.cache.segments.durable.EMPTY_DRIVE_CACHE", -1)
    monkeypatch.setattr("os.fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))
    monkeypatch.setattr("fcntl.fcntl", lambda *_: flushed.append("the drive's cache"))
    reference.put(entries(seed=1))
    del flushed[:]
    segment = reference.folder / str(other.put(entries(seed=2)))
    *written, parent, folder, drive = flushed
    assert set(written) == {path.stat().st_ino for path in (segment, *segment.rglob("*"))}
    assert (parent, folder) == (reference.folder.parent.stat().st_ino, reference.folder.stat().st_ino)
    assert drive == "the drive's cache"


def test_references_are_listed_with_who_they_are(reference: Reference) -> None:
    values = entries()
    reference.put(values)
    (info,) = ReferenceCache.open(reference.folder.parents[2]).references()
    assert info.fingerprint == FINGERPRINT.name
    assert (info.identity, info.provenance) == ({"weights": "w"}, {"model": "m"})
    assert (info.entries, info.tokens) == (len(values), sum(map(len, values.values())))
    assert info.bytes > info.tokens * 4


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(NotACache, match="holds other files"):
        ReferenceCache.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_newer_version_is_refused_with_the_remedy(tmp_path: Path) -> None:
    ReferenceCache.open(tmp_path)
    marker = tmp_path / "zarr.json"
    marker.write_text(marker.read_text().replace('"version": 1', '"version": 9'))
    with pytest.raises(NotACache, match="version 9; this prefd reads 1: upgrade prefd"):
        ReferenceCache.open(tmp_path)
    marker.write_text("{")
    with pytest.raises(NotACache, match="cannot be read"):
        ReferenceCache.open(tmp_path)


def test_opening_without_making_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NotACache, match="there is no reference cache at"):
        ReferenceCache.open(tmp_path / "typo", create=False)
    assert not (tmp_path / "typo").exists()


def test_peeking_makes_nothing(tmp_path: Path) -> None:
    cache = ReferenceCache.open(tmp_path)
    assert cache.peek(FINGERPRINT) is None
    assert not (tmp_path / "refs").exists()
    cache.reference(FINGERPRINT).put(entries())
    peeked = cache.peek(FINGERPRINT)
    assert peeked is not None
    assert peeked.missing(list(entries())) == []


def test_sums_are_the_sums_of_the_tokens(reference: Reference) -> None:
    values = entries()
    reference.put(dict(list(values.items())[:9]))
    reader = again(reference)
    reference.put(dict(list(values.items())[9:]))
    keys = list(values)[::-1]
    np.testing.assert_allclose(reader.sums(keys), [values[key].sum(dtype=np.float64) for key in keys], rtol=1e-14)
    for tokens, key in zip(reader.tokens(keys), keys):
        np.testing.assert_array_equal(tokens, values[key])
    assert reader.sums([]).shape == (0,)
    with pytest.raises(MissingEntry):
        reader.sums([*keys, bytes(32)])


def test_a_replacing_segment_serves_alone_while_it_is_whole(reference: Reference) -> None:
    values = entries()
    old = [str(reference.put({key: value})) for key, value in values.items()][:5]
    new = str(reference.put(dict(list(values.items())[:5]), replaces=old))
    for reader in (reference, again(reference)):
        assert {segment.id for segment in reader.segments}.isdisjoint(old)
        assert reader.missing(list(values)) == []
    chunk_path(reference.folder / new, "key").write_bytes(b"")
    reader = again(reference)
    assert {segment.id for segment in reader.segments} >= set(old)
    assert reader.missing(list(values)) == []
    assert list(reader.damage) == [new]


def test_what_a_replaced_segment_had_replaced_stays_replaced(reference: Reference) -> None:
    values = entries(3)
    first = str(reference.put(values))
    second = str(reference.put(values, replaces=[first]))
    third = str(reference.put(values, replaces=[second]))
    assert [segment.id for segment in again(reference).segments] == [third]
    shutil.rmtree(reference.folder / second)
    assert [segment.id for segment in again(reference).segments] == [third]


def test_a_segment_that_vanishes_is_read_until_the_next_refresh(reference: Reference) -> None:
    values, others = entries(seed=1), entries(seed=2)
    name = str(reference.put(values))
    reference.put(others)
    reader = again(reference)
    shutil.rmtree(reference.folder / name)
    assert reader.find([*values])[0] is not None
    assert reader.missing([*values, *others]) == list(values)
    assert not reader.damage


def test_what_is_no_segment_is_reported_and_in_nobodys_way(reference: Reference) -> None:
    values = entries()
    reference.put(values)
    (reference.folder / "dangling").symlink_to(reference.folder / "nowhere")
    (reference.folder / "notes.txt").write_text("not a segment")
    (reference.folder / "empty").mkdir()
    (reference.folder / ".DS_Store").write_text("")
    reader = again(reference)
    assert reader.missing(list(values)) == []
    assert sorted(reader.damage) == ["dangling", "empty", "notes.txt"]
    assert reader.put(entries(seed=9)) is not None


def test_ids_go_up_though_the_clock_goes_back(reference: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    key = b"k" * 32
    ids = [str(reference.put({key: np.float32([-1.0])}))]
    past = time.time() - 10 * 365 * 86400
    monkeypatch.setattr(time, "time", lambda: past)
    monkeypatch.setattr(time, "time_ns", lambda: int(past * 1e9))
    assert str(ULID()) < ids[0]
    ids += [str(view.put({key: np.float32([-1.0 - n])})) for n, view in enumerate([reference, again(reference)], 1)]
    assert ids == sorted(set(ids))
    assert again(reference).get([key])[0][0] == -1.0


def test_a_disagreement_is_reported_and_noise_is_not(reference: Reference, caplog: pytest.LogCaptureFixture) -> None:
    noisy, different, longer = b"n" * 32, b"d" * 32, b"l" * 32
    other = again(reference)
    first = reference.put({key: np.float32([-1.0, -2.0]) for key in (noisy, different, longer)})
    with caplog.at_level(logging.WARNING):
        second = other.put(
            {noisy: np.float32([-1.0, -2.0004]), different: np.float32([-1.0, -2.5]), longer: np.float32([-1.0] * 3)}
        )
    assert caplog.text.count("holds two values") == 2
    disagreements = again(reference).disagreements()
    assert [(one.key, one.nats, one.segments) for one in disagreements] == [
        (different, 0.5, (first, second)),
        (longer, float("inf"), (first, second)),
    ]
    assert set(other.conflicts) == set(disagreements)
    assert len(reference.disagreements(tolerance=0)) == 0  # a view of the store as it was
    assert len(other.disagreements(tolerance=0)) == 3


def test_scores_in_few_bits_may_be_as_far_apart_as_rounding_puts_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rough = ReferenceFingerprint({"weights": "w", "compute_dtype": "bfloat16"}, {})
    for store, differ in ((FINGERPRINT, True), (rough, False)):
        one, other = (ReferenceCache.open(tmp_path / "cache").reference(store) for _ in range(2))
        one.put({b"k" * 32: np.float32([-1.0, -2.0])})
        other.put({b"k" * 32: np.float32([-1.02, -2.02])})
        assert bool(other.conflicts) == differ


def test_use_is_noted_on_the_segment_once_an_hour(reference: Reference) -> None:
    values = entries()
    folder = reference.folder / str(reference.put(values))
    long_ago = time.time() - 86400
    os.utime(folder, (long_ago, long_ago))
    reader = again(reference)
    assert folder.stat().st_mtime == pytest.approx(long_ago)  # opening is no use
    reader.sums(list(values)[:1])
    assert folder.stat().st_mtime == pytest.approx(time.time(), abs=60)
    recently = time.time() - 1800
    os.utime(folder, (recently, recently))
    again(reference).get(list(values))
    assert folder.stat().st_mtime == pytest.approx(recently)


def test_a_scan_yields_checked_segments_and_reports_the_rest(reference: Reference) -> None:
    good, bad = str(reference.put(entries(seed=1))), str(reference.put(entries(seed=2)))
    chunk = chunk_path(reference.folder / bad, "logprob")
    data = bytearray(chunk.read_bytes())
    data[0] ^= 1
    chunk.write_bytes(bytes(data))
    reader = again(reference)
    assert [segment.id for segment in reader.scan()] == [good]
    assert bad in next(iter(reader.damage))


def test_what_killed_writers_left_is_swept_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    cache = ReferenceCache.open(tmp_path)
    old, new = cache.staging / "old" / "key", cache.staging / "new" / "key"
    for folder in (old, new):
        folder.mkdir(parents=True)
    an_hour_ago = time.time() - 3600
    for each in (old, old.parent, new.parent):
        os.utime(each, (an_hour_ago, an_hour_ago))
    assert cache.sweep_staging(older_than_s=600) == [old.parent]
    assert [each.name for each in cache.staging.iterdir()] == ["new"]


@settings(max_examples=40, deadline=None)
@given(
    batches=st.lists(
        st.dictionaries(
            st.integers(0, 12).map(lambda n: bytes([n % 3]) * 8 + bytes([n]) * 24),
            st.lists(st.floats(-50, 0, width=32), min_size=1, max_size=5),
            max_size=5,
        ),
        max_size=5,
    )
)
def test_the_store_is_a_dict_whose_first_value_stays(
    tmp_path_factory: pytest.TempPathFactory, batches: list[dict[bytes, list[float]]]
) -> None:
    reference = ReferenceCache.open(tmp_path_factory.mktemp("store")).reference(FINGERPRINT)
    model: dict[bytes, list[float]] = {}
    for batch in batches:
        reference.put({key: np.float32(value) for key, value in batch.items()})
        model = batch | model
    everything = [bytes([n % 3]) * 8 + bytes([n]) * 24 for n in range(13)]
    for reader in (reference, again(reference)):
        assert reader.missing(everything) == [key for key in everything if key not in model]
        for key, value in zip(model, reader.get(list(model))):
            np.testing.assert_array_equal(value, np.float32(model[key]))
