"""Export and import: what arrives is what was sent, only what is missing is added, and a bad zip changes nothing."""

from __future__ import annotations

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.segments.layout import chunk_path
from prefd.cache.store import ReferenceCache
from prefd.cache.transfer.export_import import export, import_
from prefd.cache.transfer.unpack import BadExport
from prefd.cache.upkeep.compact import compact
from prefd.cache.upkeep.stored_reference import whole_references
from prefd.cache.upkeep.verify import verify
from support.cache_entries import FINGERPRINT, Entries, entries, flip
from support.jobs_on_disk import make_job, run_precompute

OTHER = ReferenceFingerprint({"weights": "other"}, {"model": "other"})


@pytest.fixture
def mine(tmp_path: Path) -> ReferenceCache:
    return ReferenceCache.open(tmp_path / "mine")


@pytest.fixture
def theirs(tmp_path: Path) -> ReferenceCache:
    return ReferenceCache.open(tmp_path / "theirs")


@pytest.fixture
def sent(mine: ReferenceCache, tmp_path: Path) -> Path:
    """An export of two references, 20 and 40 entries."""
    mine.reference(FINGERPRINT).put(entries(seed=1))
    for seed in (2, 3):
        mine.reference(OTHER).put(entries(seed=seed))
    export(mine, tmp_path / "out.zip")
    return tmp_path / "out.zip"


def tree(cache: ReferenceCache) -> dict[str, bytes]:
    files = (path for path in cache.path.rglob("*") if path.is_file())
    return {str(path.relative_to(cache.path)): path.read_bytes() for path in files}


def assert_has(cache: ReferenceCache, fingerprint: ReferenceFingerprint, values: Entries) -> None:
    for actual, value in zip(cache.reference(fingerprint).get(list(values)), values.values()):
        np.testing.assert_array_equal(actual, value)


def test_what_arrives_is_what_was_sent(sent: Path, mine: ReferenceCache, theirs: ReferenceCache) -> None:
    report = import_(theirs, sent)
    assert (report.segments, report.entries, report.added, len(report.references)) == (3, 60, 60, 2)
    assert_has(theirs, FINGERPRINT, entries(seed=1))
    assert_has(theirs, OTHER, entries(seed=2) | entries(seed=3))
    assert [info.provenance for info in theirs.references()] == [info.provenance for info in mine.references()]
    assert verify(theirs, deep=True).ok
    assert not list(theirs.staging.iterdir())
    before = tree(theirs)
    assert import_(theirs, sent).added == 0
    assert tree(theirs) == before


def test_only_what_is_missing_is_added(sent: Path, theirs: ReferenceCache) -> None:
    values = entries(seed=1)
    some = {key: value - np.float32(1e-6) for key, value in list(values.items())[:8]}
    theirs.reference(FINGERPRINT).put(some)
    assert import_(theirs, sent, dry_run=True).added == 52
    assert len(theirs.references()) == 1, "a dry run changes nothing"
    assert import_(theirs, sent).added == 52
    assert_has(theirs, FINGERPRINT, values | some)


def test_a_damaged_entry_is_filled_from_an_export(sent: Path, mine: ReferenceCache) -> None:
    (segment,) = mine.reference(FINGERPRINT).segments
    flip(chunk_path(segment.path, "logprob"))
    assert import_(mine, sent).added == 1
    assert_has(mine, FINGERPRINT, entries(seed=1))


def test_references_are_picked_and_replaced_segments_are_not_sent(mine: ReferenceCache, tmp_path: Path) -> None:
    for seed in (1, 2):
        mine.reference(FINGERPRINT).put(entries(seed=seed))
    mine.reference(OTHER).put(entries(seed=3))
    for reference in whole_references(mine):
        compact(reference)
    report = export(mine, tmp_path / "one.zip", [FINGERPRINT.name])
    assert (report.references, report.segments, report.entries) == ([FINGERPRINT.name], 1, 40)
    assert report.bytes == (tmp_path / "one.zip").stat().st_size


def test_damage_is_left_out_and_told(mine: ReferenceCache, theirs: ReferenceCache, tmp_path: Path) -> None:
    reference = mine.reference(FINGERPRINT)
    names = [str(reference.put(entries(seed=seed))) for seed in (1, 2, 3)]
    flip(chunk_path(reference.folder / names[0], "logprob"))
    shutil.rmtree(reference.folder / names[1] / "key")
    report = export(mine, tmp_path / "out.zip")
    assert (sorted(report.left_out), report.entries) == (names[:2], 20)
    assert import_(theirs, tmp_path / "out.zip").added == 20


def test_a_disk_that_is_full_leaves_the_old_export(
    sent: Path, mine: ReferenceCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sent.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        export(mine, sent)
    monkeypatch.undo()
    assert sent.read_bytes() == before
    assert [path.name for path in sent.parent.glob(".*")] == []


Members = dict[str, bytes]


def rewritten(
    sent: Path, change: Callable[[Members], None], mode: int = 0, compression: int = zipfile.ZIP_STORED
) -> Path:
    """`sent` with its members changed, and the manifest's digests left as they are."""
    with zipfile.ZipFile(sent) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    change(members)
    out = sent.with_name("changed.zip")
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return out


def first(members: Members, end: str) -> str:
    return next(name for name in members if name.endswith(end))


def drop(end: str) -> Callable[[Members], None]:
    return lambda members: members.__delitem__(first(members, end))


def add(name: str) -> Callable[[Members], None]:
    return lambda members: members.__setitem__(name, b"evil")


def flipped(end: str) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        name = first(members, end)
        data = bytearray(members[name])
        data[len(data) // 2] ^= 1
        members[name] = bytes(data)

    return change


def manifest(edit: Callable[[Any], None]) -> Callable[[Members], None]:
    def change(members: Members) -> None:
        value = json.loads(members["manifest.json"])
        edit(value)
        members["manifest.json"] = json.dumps(value).encode()

    return change


def rename_segment(to: str) -> Callable[[Any], None]:
    def edit(value: Any) -> None:
        segments = value["references"][0]["segments"]
        segments[to] = segments.pop(next(iter(segments)))

    return edit


BAD: dict[str, tuple[Callable[[Members], None], str]] = {
    "a value": (flipped("logprob/c/0"), "does not match its SHA-256"),
    "a file is missing": (drop("offset/c/0"), "offset/c/0 of segment .* is missing"),
    "no manifest": (drop("manifest.json"), "it has no manifest.json"),
    "a path upwards": (add("../../evil"), r"does not name '../../evil'"),
    "an absolute path": (add("/tmp/evil"), "does not name '/tmp/evil'"),
    "a file too many": (add("refs/x/zarr.json"), "does not name 'refs/x/zarr.json'"),
    "a folder": (add("refs/folder/"), "is not a plain file"),
    "a segment's name": (manifest(rename_segment("../../../x")), "is no segment's name"),
    "another identity": (manifest(lambda m: m["references"][0]["identity"].update(weights="z")), "has the identity of"),
    "another format": (manifest(lambda m: m.update(format="x")), "another format"),
    "a newer version": (manifest(lambda m: m.update(version=2)), "it has version 2, and this prefd reads 1"),
    "no references": (manifest(lambda m: m.pop("references")), "KeyError"),
    "a list": (lambda members: members.update({"manifest.json": b"[]"}), "TypeError"),
    "no JSON": (lambda members: members.update({"manifest.json": b"{" * 100_000}), "Error"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_zip_changes_nothing(sent: Path, theirs: ReferenceCache, what: str) -> None:
    change, message = BAD[what]
    assert_refused(rewritten(sent, change), theirs, message)


def assert_refused(path: Path, cache: ReferenceCache, message: str) -> None:
    before = tree(cache)
    with pytest.raises(BadExport, match=message) as caught:
        import_(cache, path)
    assert str(path) in str(caught.value)
    assert "nothing was imported" in str(caught.value)
    assert tree(cache) == before
    assert not (cache.path / ".tmp").exists() or not list(cache.staging.iterdir())


def test_links_compression_and_truncation_are_refused(sent: Path, theirs: ReferenceCache) -> None:
    assert_refused(rewritten(sent, lambda _: None, mode=stat.S_IFLNK | 0o777), theirs, "is not a plain file")
    assert_refused(rewritten(sent, lambda _: None, compression=zipfile.ZIP_DEFLATED), theirs, "is compressed")
    cut = sent.with_name("cut.zip")
    cut.write_bytes(sent.read_bytes()[:-100])
    assert_refused(cut, theirs, "is not a whole export")
    cut.write_bytes(b"")
    assert_refused(cut, theirs, "is not a whole export")


@pytest.mark.parametrize("claim", [2**31, 0])
def test_a_claimed_size_that_is_not_true_is_refused(sent: Path, theirs: ReferenceCache, claim: int) -> None:
    """Both sizes of the first member in the central directory."""
    data = bytearray(sent.read_bytes())
    offset = data.index(b"PK\x01\x02")
    data[offset + 20 : offset + 28] = claim.to_bytes(4, "little") * 2
    lie = sent.with_name("lie.zip")
    lie.write_bytes(bytes(data))
    assert_refused(lie, theirs, "larger than it is" if claim else "is not a whole export")


def test_every_flipped_byte_is_refused_or_harmless(sent: Path, theirs: ReferenceCache) -> None:
    data = sent.read_bytes()
    bent = sent.with_name("bent.zip")
    rng = np.random.default_rng(0)
    for offset in rng.integers(0, len(data), 40).tolist():
        bent.write_bytes(data[:offset] + bytes([data[offset] ^ 0xFF]) + data[offset + 1 :])
        try:
            import_(theirs, bent, dry_run=True)
        except BadExport:
            continue
    assert tree(theirs).keys() == {"zarr.json"}


def test_a_job_elsewhere_scores_nothing_after_an_import(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    spec = {"model": str(tiny_model), "data": {"path": str(pairs_file)}}
    scored = make_job(home, 1, **spec)
    assert run_precompute(scored).summary.scored == 16
    export(scored.cache, home / "out.zip")
    elsewhere = make_job(home.with_name("laptop"), 1, **spec)
    assert import_(elsewhere.cache, home / "out.zip").added == 16
    assert run_precompute(elsewhere).summary.scored == 0
