"""Decodes what editors and shells save as text: UTF-8, and UTF-16 or UTF-32 with its mark, as PowerShell's `>` writes it.

Anything else is refused with what it is, the line, and what to do: a guess at the encoding would make another name of a name.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence

from prefd.daemon.text.parsed import ParseError
from prefd.daemon.text.text_fault import LineStarts, Position
from prefd.daemon.text.wording import clip

SAVE_AS_UTF8 = "save it as UTF-8"
MARKS: Sequence[tuple[bytes, str]] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""The first bytes of a text that say how it is encoded."""
MAGIC: Sequence[tuple[bytes, str]] = (
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"PK\x03\x04", "a zip archive, or a document of an office program: unpack it, or save it as plain text"),
    (b"BZh", "a bzip2 archive: unpack it"),
    (b"\xfd7zXZ\x00", "an xz archive: unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive: unpack it"),
    (b"%PDF", "a PDF: a spec is plain text"),
    (b"{\\rtf", "rich text (RTF), as TextEdit and WordPad save it: save it as plain text"),
    (b"\xd0\xcf\x11\xe0", "a document of an office program: save it as plain text"),
    (b"PAR1", "a parquet file: a spec names it as data.path"),
    (b"SQLite format 3\0", "a database: a spec is plain text"),
    (b"bplist", "a binary property list of macOS: a spec is plain text"),
)
"""The first bytes of files that are no text."""
LEGACY = "cp1252"
"""What most editors that do not write UTF-8 write: Latin-1, with typographic quotes in it."""
BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def decode_text(data: bytes) -> str:
    """Decodes a file's bytes. Raises ParseError, whose message has the line and a remedy where there is one."""
    for start, description in MAGIC:
        if data.startswith(start):
            raise ParseError(f"it is {description}")
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return _decode(data[len(mark) :], encoding)
    if wide := _guess_wide(data):
        problem = f"looks like {wide.upper().removesuffix('-LE').removesuffix('-BE')} without its mark"
        raise ParseError(f"{problem}: {SAVE_AS_UTF8}", Position(1))
    return _decode(data, "utf-8")


def _decode(data: bytes, encoding: str) -> str:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _explain_fault(data, encoding, error) from None
    if (offset := text.find("\0")) >= 0:
        raise ParseError("a NUL character: is it a binary file?", LineStarts(text).find_position(offset))
    return text


def _explain_fault(data: bytes, encoding: str, error: UnicodeDecodeError) -> ParseError:
    """Says what a byte that cannot be decoded may be, on its line."""
    if encoding != "utf-8":
        return ParseError(f"it begins as {encoding[:6].upper()} text and is none: {SAVE_AS_UTF8}, or is it cut short?")
    problem = f"not UTF-8 text (byte 0x{data[error.start]:02x} at offset {error.start})"
    if BINARY.search(data):
        return ParseError(f"{problem}: is it a binary file?")
    before = data[: error.start].decode("utf-8", "replace")
    start = max(data.rfind(b"\n", 0, error.start), data.rfind(b"\r", 0, error.start)) + 1
    content = re.split(rb"[\r\n]", data[start : start + 400])[0].decode(LEGACY, "replace")
    meaning = f"it looks like Latin-1 or Windows-1252, in which the line is {clip(content)!r}"
    return ParseError(f"{problem}: {meaning}: {SAVE_AS_UTF8}", LineStarts(before).find_position(len(before)))


def _guess_wide(data: bytes) -> str | None:
    """Names the encoding of wide characters that `data` is most likely in, by where its zeros are; None for text of bytes."""
    start = data[:4096]
    if len(start) < 8 or b"\0" not in start:
        return None
    zeros = [start[place::4].count(0) / max(len(start[place::4]), 1) for place in range(4)]
    rare, usual = 0.1, 0.6
    for encoding, places in {
        "utf-16-le": (1, 3),
        "utf-16-be": (0, 2),
        "utf-32-le": (1, 2, 3),
        "utf-32-be": (0, 1, 2),
    }.items():
        if all(zeros[place] > usual if place in places else zeros[place] < rare for place in range(4)):
            return encoding
    return None
