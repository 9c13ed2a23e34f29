"""What editors and shells save as text is read, or told with its line and the remedy."""

from __future__ import annotations

import gzip

import pytest

from prefd.daemon.text.decoding import decode_text
from prefd.daemon.text.parsed import ParseError

SPEC = "name: café ☕\nmodel: org/name\n"


def refusal(data: bytes) -> str:
    with pytest.raises(ParseError) as caught:
        decode_text(data)
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_with_its_mark_is_read(encoding: str) -> None:
    assert decode_text(SPEC.encode(encoding)) == SPEC


@pytest.mark.parametrize("order", ["be", "le"])
def test_both_orders_of_bytes_are_read(order: str) -> None:
    for width in ("16", "32"):
        encoding = f"utf-{width}-{order}"
        assert decode_text("\ufeff".encode(encoding) + SPEC.encode(encoding)) == SPEC


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_text_without_its_mark_is_named(encoding: str) -> None:
    name = encoding[:6].upper()
    assert refusal(SPEC.encode(encoding)) == f"line 1: looks like {name} without its mark: save it as UTF-8"


def test_latin1_is_told_with_its_line_and_what_it_would_be() -> None:
    message = refusal("model: org/name\nname: café\n".encode("latin-1"))
    assert message.startswith(
        "line 2, column 10: not UTF-8 text (byte 0xe9 at offset 25): it looks like Latin-1 or Windows-1252"
    )
    assert message.endswith("in which the line is 'name: café': save it as UTF-8")


@pytest.mark.parametrize("ending", ["\r\n", "\r", "\n"])
def test_lines_are_counted_whatever_ends_them(ending: str) -> None:
    assert refusal(ending.join(["a: 1", "b: 2", "c: “x”"]).encode("cp1252")).startswith("line 3, column 4: ")


@pytest.mark.parametrize(
    ("data", "description"),
    [
        (gzip.compress(SPEC.encode(), mtime=0), "a gzip archive: unpack it"),
        (b"PK\x03\x04rest", "a zip archive"),
        (b"%PDF-1.7\n\xe2\xe3", "a PDF"),
        (rb"{\rtf1\ansi name: x}", "rich text (RTF)"),
        (b"PAR1\x15\x04", "a spec names it as data.path"),
    ],
)
def test_files_that_are_no_text_are_named(data: bytes, description: str) -> None:
    assert description in refusal(data)


def test_utf16_that_is_cut_short_is_told() -> None:
    assert refusal(SPEC.encode("utf-16")[:-1]) == (
        "it begins as UTF-16 text and is none: save it as UTF-8, or is it cut short?"
    )


def test_a_binary_file_is_a_binary_file() -> None:
    assert refusal(bytes(range(1, 256))) == "not UTF-8 text (byte 0x80 at offset 127): is it a binary file?"
    assert refusal(b"a: 1\nb: \0") == "line 2, column 4: a NUL character: is it a binary file?"
