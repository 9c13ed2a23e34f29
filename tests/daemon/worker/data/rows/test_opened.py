"""Compressed files, and files that are not what their names say."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numcodecs import Zstd

from prefd.daemon.worker.data.rows import json_text
from support.row_files import ROWS, failure, find_rows, read, write_rows


def zstd(data: bytes) -> bytes:
    """With a checksum, as the zstd command writes it."""
    return bytes(Zstd(checksum=True).encode(data))


PACKERS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstd}
KIND = {"gz": "gzip", "zst": "zstd"}


def rows_as(folder: Path, kind: str) -> bytes:
    if kind == "tsv":
        return (
            write_rows(folder / "plain.csv", [{"prompt": "Q1", "chosen": "a", "rejected": "b"}])
            .read_bytes()
            .replace(b",", b"\t")
        )
    return write_rows(folder / f"plain.{kind}", ROWS).read_bytes()


@pytest.mark.parametrize("packing", PACKERS)
class TestCompressed:
    @pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv"])
    def test_rows_come_back_as_they_are(self, tmp_path: Path, packing: str, kind: str) -> None:
        path = tmp_path / f"pairs.{kind}.{packing}"
        path.write_bytes(PACKERS[packing](rows_as(tmp_path, kind)))
        assert read(path) == (ROWS[:1] if kind == "tsv" else ROWS)
        assert find_rows(path).notes == []

    def test_lines_are_counted_in_what_is_unpacked(self, tmp_path: Path, packing: str) -> None:
        path = tmp_path / f"pairs.jsonl.{packing}"
        path.write_bytes(PACKERS[packing](b'{"a": 1}\n\n{"a": 2}\n'))
        assert list(map(str, find_rows(path).places)) == [f"pairs.jsonl.{packing}:1", f"pairs.jsonl.{packing}:3"]

    def test_pieces_after_one_another_are_all_read(self, tmp_path: Path, packing: str) -> None:
        path = tmp_path / f"pairs.jsonl.{packing}"
        path.write_bytes(PACKERS[packing](b'{"a": 1}\n') + PACKERS[packing](b'{"a": 2}\n'))
        assert read(path) == [{"a": 1}, {"a": 2}]

    @pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
    @pytest.mark.parametrize("damage", ["cut", "flipped"])
    def test_damaged_data_is_refused_whole(self, tmp_path: Path, packing: str, kind: str, damage: str) -> None:
        lines = b"".join(b'{"prompt": "%d", "chosen": "a", "rejected": "b"}\n' % number for number in range(5000))
        text = lines if kind == "jsonl" else b"[" + lines.strip().replace(b"\n", b",") + b"]"
        packed = bytearray(PACKERS[packing](b"a,b\n" + b"1,2\n" * 5000 if kind == "csv" else text))
        path = tmp_path / f"pairs.{kind}.{packing}"
        if damage == "flipped":
            packed[len(packed) * 2 // 3] ^= 0xFF
        path.write_bytes(packed if damage == "flipped" else packed[: len(packed) * 2 // 3])
        assert failure(path).startswith(f"{path}: its {KIND[packing]} data is damaged or ends too early (")
        assert failure(path).endswith("); fetch or compress it again")

    def test_names_may_lie_about_it_and_that_is_said(self, tmp_path: Path, packing: str) -> None:
        packed, plain = tmp_path / "packed.jsonl", tmp_path / f"plain.jsonl.{packing}"
        text = rows_as(tmp_path, "jsonl")
        packed.write_bytes(PACKERS[packing](text))
        plain.write_bytes(text)
        assert find_rows(packed).rows == find_rows(plain).rows == ROWS
        message = "whatever its name says, and was read so"
        assert find_rows(packed).notes == [f"packed.jsonl: it is {KIND[packing]}, {message}"]
        assert find_rows(plain).notes == [f"plain.jsonl.{packing}: it is not compressed, {message}"]

    def test_a_line_that_no_memory_can_hold_is_refused(
        self, tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(json_text, "MAX_LINE", 2**20)
        path = tmp_path / f"bomb.jsonl.{packing}"
        path.write_bytes(PACKERS[packing](b'{"a": 1}\n' + b" " * 2**26))
        assert path.stat().st_size < 2**17
        assert failure(path).startswith(f"{path}: line 2 is longer than 128 MiB; ")

    def test_a_document_that_no_memory_can_hold_is_refused(
        self, tmp_path: Path, packing: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(json_text, "MAX_DOCUMENT", 2**20)
        path = tmp_path / f"bomb.json.{packing}"
        path.write_bytes(PACKERS[packing](b"[" + b" " * 2**26))
        assert failure(path) == f"{path}: a JSON document of more than 4 GiB; write one object a line (.jsonl)"


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("pairs.jsonl", "{}")
    return buffer.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
PAGE = "it is a web page and not data; download the file itself (a hub file's address has /resolve/)"


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "tsv", "parquet", "arrow", "jsonl.gz"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (LFS, "it is a git-lfs pointer and not the data itself; fetch that with `git lfs pull`"),
        (b"\n <!DOCTYPE html>\n<html lang='en'>", PAGE),
        (b"<html><body>Not found", PAGE),
        (bz2.compress(b"{}"), "it is compressed with bzip2; unpack it, or compress it with gzip or zstd"),
        (lzma.compress(b"{}"), "it is compressed with xz; unpack it, or compress it with gzip or zstd"),
        (archive(), "it is a zip archive (as an .xlsx is); unpack it, or save the sheet as CSV"),
    ],
)
def test_what_is_no_data_is_refused_with_what_to_do(tmp_path: Path, suffix: str, content: bytes, expected: str) -> None:
    path = tmp_path / f"pairs.{suffix}"
    path.write_bytes(content)
    assert failure(path) == f"{path}: {expected}"


def test_a_table_named_as_text_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    assert failure(path) == f"{path}: it is a .parquet file, whatever its name says; name it .parquet"
