"""Verify and repair: every kind of damage is found and named, and what is whole of it is saved."""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from prefd.cache.reference import Reference
from prefd.cache.segments.layout import chunk_path
from prefd.cache.segments.read_errors import NotPermitted
from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep.verify import VerifyReport, repair, verify
from support.cache_entries import FINGERPRINT, Entries, entries, flip


@pytest.fixture
def cache(tmp_path: Path) -> ReferenceCache:
    return ReferenceCache.open(tmp_path / "cache")


@pytest.fixture
def reference(cache: ReferenceCache) -> Reference:
    return cache.reference(FINGERPRINT)


def put(reference: Reference, values: Entries) -> Path:
    return Path(reference.folder) / str(reference.put(values))


def mend(cache: ReferenceCache, report: VerifyReport) -> int:
    """Repair; the entries that were rescued."""
    rescued = sum(each.rescued for each in repair(cache, report.damage))
    assert verify(cache, deep=True).ok
    return rescued


def served(cache: ReferenceCache, values: Entries) -> Entries:
    """What a new reader gets of `values`; every number must be right."""
    served_values = dict(zip(values, cache.reference(FINGERPRINT).find(list(values))))
    for key, value in served_values.items():
        if value is not None:
            np.testing.assert_array_equal(value, values[key])
    return {key: value for key, value in served_values.items() if value is not None}


def test_a_whole_store_is_ok(cache: ReferenceCache, reference: Reference) -> None:
    put(reference, entries(seed=1))
    put(reference, entries(seed=2))
    for deep in (False, True):
        report = verify(cache, deep=deep)
        assert (report.ok, report.complete, report.references, report.segments, report.entries) == (
            True,
            True,
            1,
            2,
            40,
        )
        assert report.strays == []


@pytest.mark.parametrize("name", ["key", "offset", "sum", "crc", "logprob", "zarr.json", "offset/zarr.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_damage_to_any_file_is_found_and_the_whole_entries_of_it_are_saved(
    cache: ReferenceCache, reference: Reference, name: str, damage: str
) -> None:
    values, others = entries(seed=1), entries(seed=2)
    segment = put(reference, values)
    put(reference, others)
    path = segment / name if name.endswith(".json") else chunk_path(segment, name)
    if damage == "flip":
        flip(path)
    elif damage == "truncate":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        path.unlink()
    report = verify(cache, deep=True)
    (reported_damage,) = report.damage
    assert (reported_damage.segment, report.ok) == (segment.name, False)
    assert (reported_damage.to_score or 0) + reported_damage.rescuable == len(values)
    assert mend(cache, report) == reported_damage.rescuable
    assert not segment.exists()
    assert (reference.folder.parent / "quarantine" / segment.name).is_dir()
    got = served(cache, values | others)
    assert len(got) == len(others) + reported_damage.rescuable
    expected = {"flip": {"key": 19, "offset": 18, "crc": 19, "logprob": 19}, "truncate": {}, "delete": {}}[damage]
    if name in ("sum", "zarr.json", "offset/zarr.json") or name in expected:
        assert reported_damage.rescuable == expected.get(name, 20)


def test_what_another_segment_holds_is_not_counted_as_lost(cache: ReferenceCache, reference: Reference) -> None:
    values = entries(seed=1)
    segment = put(reference, values)
    put(reference, dict(list(values.items())[:5]))
    shutil.rmtree(segment / "logprob")
    (damage,) = verify(cache).damage
    assert (damage.rescuable, damage.to_score) == (0, 15)
    mend(cache, verify(cache))
    assert len(served(cache, values)) == 5


def test_a_flipped_value_is_found_by_deep_alone(cache: ReferenceCache, reference: Reference) -> None:
    values = entries()
    flip(chunk_path(put(reference, values), "logprob"))
    assert verify(cache).ok
    (damage,) = verify(cache, deep=True).damage
    assert "1 of 20 entries do not match" in damage.what
    assert damage.to_score == 1


def test_damaged_attributes_are_set_aside_and_written_again_by_the_next_job(
    cache: ReferenceCache, reference: Reference
) -> None:
    values = entries()
    put(reference, values)
    marker = reference.folder.parent / "zarr.json"
    marker.write_text(marker.read_text().replace('"w"', '"x"'))
    report = verify(cache)
    (damage,) = report.damage
    assert (damage.segment, damage.to_score) == (None, 0)
    assert "its identity is that of" in damage.what
    assert len(repair(cache, report.damage)) == 1
    assert repair(cache, verify(cache).damage) == []
    assert len(served(cache, values)) == len(values)
    assert verify(cache).ok


def test_two_values_for_one_key_are_a_disagreement_beyond_the_tolerance(
    cache: ReferenceCache, reference: Reference
) -> None:
    values = entries()
    first = put(reference, values)
    put(reference, {key: value - np.float32(1e-5) for key, value in values.items()})
    assert verify(cache).ok, "two devices may differ in the last digits"
    victim = min(values)
    wrong = put(reference, {victim: values[victim] - np.float32(0.25)})
    report = verify(cache)
    ((name, disagreement),) = report.disagreements
    assert not report.ok
    assert (name, disagreement.key, disagreement.segments) == (FINGERPRINT.name, victim, (first.name, wrong.name))
    assert disagreement.nats == pytest.approx(0.25, rel=1e-4)


@pytest.mark.parametrize("where", ["segment", "reference", "a file of a damaged segment"])
def test_what_may_not_be_read_is_an_error_that_says_so_and_stays_where_it_is(
    cache: ReferenceCache, reference: Reference, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    values = entries()
    segment = put(reference, values)
    denied = {"segment": segment / "zarr.json", "reference": segment.parents[1] / "zarr.json"}.get(where)
    if denied is None:
        flip(segment / "zarr.json")
        denied = chunk_path(segment, "logprob")
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path == denied:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read_bytes(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse)
        with pytest.raises(NotPermitted, match="this user may not read it"):
            verify(cache)
    assert not (segment.parents[1] / "quarantine").exists()
    assert segment.is_dir()


def test_what_belongs_to_nothing_is_listed_and_harms_nobody(cache: ReferenceCache, reference: Reference) -> None:
    segment = put(reference, entries())
    for path in ("notes.txt", ".tmp/01AAA/zarr.json", "refs/readme", "refs/x/y"):
        (cache.path / path).parent.mkdir(parents=True, exist_ok=True)
        (cache.path / path).write_text("?")
    (segment / "key" / "c" / "0" / "0.partial").write_text("?")
    report = verify(cache)
    assert report.ok
    kinds = {each.path: each.kind for each in report.strays}
    prefix = f"refs/{FINGERPRINT.name}/segments/{segment.name}"
    assert kinds == {
        "notes.txt": "strange",
        ".tmp/01AAA": "unfinished",
        "refs/readme": "strange",
        "refs/x": "strange",
        f"{prefix}/key/c/0/0.partial": "strange",
    }


def test_time_that_is_up_ends_it_and_is_told(cache: ReferenceCache, reference: Reference) -> None:
    put(reference, entries(seed=1))
    put(reference, entries(seed=2))
    report = verify(cache, deep=True, deadline=time.monotonic())
    assert (report.complete, report.segments, report.segments_total) == (False, 0, 2)
    assert verify(cache, deadline=time.monotonic() + 60).complete


def test_a_prefix_picks_references(cache: ReferenceCache, reference: Reference) -> None:
    put(reference, entries())
    assert verify(cache, prefix=FINGERPRINT.name[:4]).segments == 1
    assert verify(cache, prefix="zz").references == 0
