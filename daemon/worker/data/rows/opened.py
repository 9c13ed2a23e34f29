"""Opens a data file as bytes: decompressed as a stream where it is compressed, refused where it is no data.

A file is told by how it begins, for names lie: a `.jsonl` that is gzip is read as gzip, and said to be. What is never data,
such as the pointer that git-lfs leaves in a file's place, is refused with what to do about it.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from prefd.daemon.worker.data.rows.placed import DataFile

PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""How a compressed file begins, whatever it holds."""
SUFFIX = {".gz": "gzip", ".zst": "zstd"}
FOREIGN = {
    b"version https://git-lfs": "it is a git-lfs pointer and not the data itself; fetch that with `git lfs pull`",
    b"<!doctype html": "it is a web page and not data; download the file itself (a hub file's address has /resolve/)",
    b"<html": "it is a web page and not data; download the file itself (a hub file's address has /resolve/)",
    b"bzh": "it is compressed with bzip2; unpack it, or compress it with gzip or zstd",
    b"\xfd7zxz\x00": "it is compressed with xz; unpack it, or compress it with gzip or zstd",
    b"pk\x03\x04": "it is a zip archive (as an .xlsx is); unpack it, or save the sheet as CSV",
}
"""How a file begins, in small letters, that no reader here reads."""
BINARY = {b"PAR1": ".parquet", b"ARROW1": ".arrow"}
UTF16 = (b"\xff\xfe", b"\xfe\xff")
HEAD = 64


@contextmanager
def open_data_file(file: DataFile) -> Iterator[BinaryIO]:
    """Opens a text file as bytes. Raises `DataError`, also in the middle of damaged data; the stream is closed after."""
    with file.path.open("rb") as raw:
        compression = _packing(file, raw)
        try:
            with _unpacked(raw, compression) as stream:
                _check_text(file, stream)
                yield stream
        except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
            if compression is None or (isinstance(error, OSError) and error.errno is not None):
                raise
            raise file.fault(
                f"its {compression} data is damaged or ends too early ({error}); fetch or compress it again"
            ) from error


def _packing(file: DataFile, raw: BinaryIO) -> str | None:
    """Says how the file is compressed, which its name may not say."""
    head = peek_start(raw)
    compression = next((name for magic, name in PACKED.items() if head.startswith(magic)), None)
    compression_by_name = SUFFIX.get(file.path.suffix.lower())
    if compression != compression_by_name and head:
        file.note(f"it is {compression or 'not compressed'}, whatever its name says, and was read so")
    return compression


def _unpacked(raw: BinaryIO, compression: str | None) -> BinaryIO:
    if compression == "gzip":
        return io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=raw)))
    if compression == "zstd":
        import pyarrow as pa  # here: most jobs need none of it, and it takes a while to import

        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(raw), "zstd"))
    return raw


def peek_start(stream: BinaryIO) -> bytes:
    """Gives the first bytes that a buffered `stream` still holds, and leaves them there."""
    return cast("io.BufferedReader", stream).peek(HEAD)[:HEAD]


def _check_text(file: DataFile, stream: BinaryIO) -> None:
    head = peek_start(stream)
    check_foreign(file, head)
    if any(head.startswith(magic) for magic in PACKED):
        raise file.fault("what is compressed in it is compressed again; unpack it once")
    if kind := next((kind for magic, kind in BINARY.items() if head.startswith(magic)), None):
        raise file.fault(f"it is a {kind} file, whatever its name says; name it {kind}")
    if head.startswith(UTF16):
        raise file.fault("not UTF-8 but UTF-16; save the file as UTF-8")


def check_no_json(file: DataFile, head: bytes) -> None:
    """Raises `DataError` for a table that begins as JSON does."""
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b'{"', b"[{", b"{ ", b"[\n", b"{\n")):
        raise file.fault("it holds JSON, whatever its name says; name it .jsonl, or .json where it is one list")


def check_foreign(file: DataFile, head: bytes) -> None:
    """Raises `DataError` for a file that begins as something that is never data."""
    start = head.lstrip().lower()
    for magic, problem in FOREIGN.items():
        if start.startswith(magic):
            raise file.fault(problem)
