"""Segments on disk: the final format, readable by stock zarr, and every kind of damage a miss."""

from __future__ import annotations

import errno
import gc
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr

from prefd.cache.segments.layout import ARRAYS
from prefd.cache.segments.read_errors import NotPermitted
from prefd.cache.segments.segment import DamagedEntry, DamagedSegment, chunk_path, open_segment, write_segment
from support.cache_entries import Entries, entries

IDENTITY = "ab" * 32


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Entries]:
    values = entries()
    write_segment(tmp_path / "segment", values, IDENTITY)
    return tmp_path / "segment", values


def test_every_entry_reads_back_bit_for_bit(written: tuple[Path, Entries]) -> None:
    path, values = written
    segment = open_segment(path, IDENTITY)
    keys = [row.tobytes() for row in segment.keys]
    assert keys == sorted(values)
    for row, key in enumerate(keys):
        np.testing.assert_array_equal(segment.read(row), values[key])
        assert segment.sums[row] == pytest.approx(values[key].sum(dtype=np.float64), rel=1e-14)
    assert segment.tokens == sum(len(value) for value in values.values())


def test_layout_is_the_documented_one(written: tuple[Path, Entries]) -> None:
    path, values = written
    attributes = json.loads((path / "zarr.json").read_text())["attributes"]
    documented = {"complete", "entries", "tokens", "identity_sha256", "replaces", "manifest", "metadata", "crc32c"}
    assert attributes.keys() == documented
    assert attributes["entries"] == len(values)
    for name, (size, crc) in attributes["manifest"].items():
        data = chunk_path(path, name).read_bytes()
        assert size == len(data)
        assert crc == google_crc32c.value(data[:-4]) == int.from_bytes(data[-4:], "little")
    codecs = [codec["name"] for codec in json.loads((path / "logprob" / "zarr.json").read_text())["codecs"]]
    assert codecs == ["bytes", "crc32c"]


def test_stock_zarr_reads_the_same_numbers(written: tuple[Path, Entries], tmp_path: Path) -> None:
    path, values = written
    np.savez(tmp_path / "expected.npz", logprob=np.concatenate([values[key] for key in sorted(values)]))
    program = f"""
import sys, numpy, zarr
assert not any(name.startswith("prefd") for name in sys.modules)
group = zarr.open_group({str(path)!r}, mode="r")
expected = numpy.load({str(tmp_path / "expected.npz")!r})["logprob"]
numpy.testing.assert_array_equal(group["logprob"][:], expected)
offset = group["offset"][:]
assert list(map(len, numpy.split(expected, offset[1:-1]))) == numpy.diff(offset).tolist()
"""
    assert subprocess.run([sys.executable, "-I", "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("name", ["key", "offset", "sum", "crc", "logprob"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "delete", "grow", "zero"])
def test_damage_to_any_array_is_found(written: tuple[Path, Entries], name: str, damage: str) -> None:
    path, values = written
    chunk = chunk_path(path, name)
    data = bytearray(chunk.read_bytes())
    if damage == "delete":
        chunk.unlink()
    else:
        data[len(data) // 2] ^= 0x10
        changed = {"flip": data, "truncate": data[:-5], "empty": b"", "grow": data + b"x", "zero": bytes(len(data))}
        chunk.write_bytes(bytes(changed[damage]))
    try:
        segment = open_segment(path, IDENTITY)
    except DamagedSegment:
        return
    assert name == "logprob"  # checked entry by entry, as it is read
    bad = 0
    for row, key in enumerate(sorted(values)):
        try:
            np.testing.assert_array_equal(segment.read(row), values[key])
        except DamagedEntry:
            bad += 1
    assert bad == (1 if damage == "flip" else len(values))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"attributes": {}}', b"\xff\xfe"])
def test_damaged_attributes_are_a_damaged_segment(written: tuple[Path, Entries], content: bytes) -> None:
    (written[0] / "zarr.json").write_bytes(content)
    with pytest.raises(DamagedSegment):
        open_segment(written[0], IDENTITY)


def test_a_chunk_of_another_segment_is_found(written: tuple[Path, Entries], tmp_path: Path) -> None:
    """Same size, whole, with a checksum that fits itself: only the manifest can tell."""
    values = {key: np.flip(value) for key, value in written[1].items()}
    write_segment(tmp_path / "other", values, IDENTITY)
    chunk_path(written[0], "sum").write_bytes(b"")
    for name in ("logprob", "crc"):
        chunk_path(written[0], name).write_bytes(chunk_path(tmp_path / "other", name).read_bytes())
    with pytest.raises(DamagedSegment):
        open_segment(written[0], IDENTITY)


def test_a_segment_of_another_reference_is_refused(written: tuple[Path, Entries]) -> None:
    with pytest.raises(DamagedSegment, match="another reference"):
        open_segment(written[0], "cd" * 32)


@pytest.mark.parametrize("name", ["key", "offset", "sum", "crc", "logprob"])
def test_what_only_stock_zarr_reads_is_covered_too(written: tuple[Path, Entries], name: str) -> None:
    document = written[0] / name / "zarr.json"
    segment = open_segment(written[0], IDENTITY)
    segment.check_metadata()
    document.write_text(document.read_text().replace('"fill_value"', '"fill-value"'))
    for check in (segment.check_metadata, lambda: open_segment(written[0], IDENTITY)):
        with pytest.raises(DamagedSegment, match="does not match its checksum"):
            check()
    document.unlink()
    for check in (segment.check_metadata, lambda: open_segment(written[0], IDENTITY)):
        with pytest.raises(DamagedSegment, match="No such file"):
            check()


def test_a_changed_attribute_is_found(written: tuple[Path, Entries]) -> None:
    marker = written[0] / "zarr.json"
    marker.write_text(marker.read_text().replace('"replaces": []', '"replaces": ["01K"]'))
    with pytest.raises(DamagedSegment, match="does not match its checksum"):
        open_segment(written[0], IDENTITY)


def test_all_log_probabilities_are_checked_at_once(written: tuple[Path, Entries]) -> None:
    open_segment(written[0], IDENTITY).check_logprobs()
    chunk = chunk_path(written[0], "logprob")
    data = bytearray(chunk.read_bytes())
    data[7] ^= 1
    chunk.write_bytes(bytes(data))
    with pytest.raises(DamagedSegment, match="logprob"):
        open_segment(written[0], IDENTITY).check_logprobs()


def test_an_open_segment_outlives_its_folder_and_keeps_no_descriptor(tmp_path: Path) -> None:
    values = {bytes([n]) * 32: np.full(9000, -1 - n, np.float32) for n in range(8)}  # large enough to be mapped
    write_segment(tmp_path / "segment", values, IDENTITY)
    before = len(os.listdir("/dev/fd"))
    segment = open_segment(tmp_path / "segment", IDENTITY)
    assert len(os.listdir("/dev/fd")) == before
    assert not segment.logprobs.flags.writeable
    shutil.rmtree(tmp_path / "segment")
    for row, value in enumerate(values.values()):
        np.testing.assert_array_equal(segment.read(row), value)
    value = segment.read(3)
    del segment
    gc.collect()
    assert value[-1] == -4  # the map lives as long as a view of it


def test_too_many_open_files_are_no_damage(written: tuple[Path, Entries], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    monkeypatch.setattr("prefd.cache.segments.segment.load_bytes", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        open_segment(written[0], IDENTITY)


def test_a_file_that_may_not_be_read_is_no_damage(
    written: tuple[Path, Entries], monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = open_segment(*written[:1], IDENTITY)

    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("prefd.cache.segments.segment.load_bytes", refuse)
    for read in (lambda: open_segment(written[0], IDENTITY), segment.check_metadata):
        with pytest.raises(NotPermitted, match=r"/zarr\.json: this user may not read it; give it the right to"):
            read()


def test_metadata_is_what_zarr_itself_writes(written: tuple[Path, Entries], tmp_path: Path) -> None:
    for name in ARRAYS:
        array = zarr.open_array(written[0] / name, mode="r")
        (tmp_path / name).mkdir()
        zarr.create_array(
            tmp_path / name,
            shape=array.shape,
            chunks=array.shape,
            dtype=array.dtype,
            fill_value=array.fill_value,
            serializer=array.serializer,
            compressors=array.compressors,
        )[...] = array[...]
        theirs, ours = (json.loads((folder / name / "zarr.json").read_bytes()) for folder in (tmp_path, written[0]))
        assert ours == theirs
        assert chunk_path(written[0], name).read_bytes() == chunk_path(tmp_path, name).read_bytes()
