"""CSV by other separators, the lines of its rows, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.row_files import failure, find_rows, read

UNEQUAL, BOTH = "not every line has as many cells as the header", "each of them fits every line"
REMEDY = "write it with a comma between cells, or one JSON object a line (.jsonl)"
ROW = {"prompt": "Say a, please", "chosen": "a; b", "rejected": "b"}


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text", "separator"),
    [
        ("a.csv", 'prompt;chosen;rejected\nSay a, please;"a; b";b\n', "a semicolon"),
        ("a.csv", "prompt\tchosen\trejected\r\nSay a, please\ta; b\tb\r\n", "a tab"),
        ("a.csv", "prompt|chosen|rejected\nSay a, please|a; b|b\n", "a bar"),
        ("a.tsv", 'prompt,chosen,rejected\n"Say a, please",a; b,b\n', "a comma"),
    ],
)
def test_another_separator_is_seen_where_every_line_agrees(
    tmp_path: Path, name: str, text: str, separator: str
) -> None:
    got = find_rows(write(tmp_path / name, text))
    assert got.rows == [ROW]
    assert got.notes == [f"{name}: its cells are separated by {separator}, and were read so"]


def test_what_the_name_promises_is_read_without_a_word(tmp_path: Path) -> None:
    for name, text in (
        ("a.csv", 'prompt,chosen,rejected\n"Say a, please",a; b,b\n'),
        ("a.tsv", "prompt\tchosen\trejected\nSay a, please\ta; b\tb\n"),
        ("b.tsv", 'prompt\tchosen\trejected\n"Say a, please"\t"a; b"\tb\n'),
    ):
        got = find_rows(write(tmp_path / name, text))
        assert (got.rows, got.notes) == ([ROW], [])


def test_a_header_with_another_separator_in_a_name_stays_what_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "prompt,chosen|better,rejected\nQ,a,b\n")
    got = find_rows(path)
    assert (got.rows, got.notes) == ([{"prompt": "Q", "chosen|better": "a", "rejected": "b"}], [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "prompt;chosen;rejected\nQ;a;b\nQ;a\n",
            f"its header (prompt;chosen;rejected) is separated by a semicolon, and {UNEQUAL}; {REMEDY}",
        ),
        (
            "prompt;x,chosen;y\nQ;1,a;2\n",
            f"its header (prompt;x,chosen;y) is separated by a comma and a semicolon, and {BOTH}; {REMEDY}",
        ),
        ("prompt,chosen\nQ,\0a\n", "line 2 has NUL bytes; save the file as UTF-8 text"),
    ],
)
def test_what_is_not_certain_is_refused_with_the_remedy(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path / "a.csv", text)
    assert failure(path) == f"{path}: {expected}"


def test_rows_stand_at_the_line_they_begin_at(tmp_path: Path) -> None:
    text = 'prompt,chosen\n\nq,"two\nlines"\nq\n\n\nq,"three\r\nlong\nlines"\nq,a\n'
    got = find_rows(write(tmp_path / "a.csv", text))
    assert list(map(str, got.places)) == ["a.csv:3", "a.csv:5", "a.csv:8", "a.csv:11"]
    assert read(tmp_path / "a.csv")[2] == {"prompt": "q", "chosen": "three\r\nlong\nlines"}


def test_latin_1_and_utf_16_are_refused_where_they_begin(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("prompt,chosen\nq,a\nq,é\n".encode("latin-1"))
    assert failure(path) == f"{path}: not UTF-8 at line 3; save the file as UTF-8"
    path.write_bytes("prompt,chosen\nq,a\n".encode("utf-16"))
    assert failure(path) == f"{path}: not UTF-8 but UTF-16; save the file as UTF-8"


def test_old_macs_lines_are_lines(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.csv", "prompt,chosen\rq,a\rq,b\r")) == [
        {"prompt": "q", "chosen": "a"},
        {"prompt": "q", "chosen": "b"},
    ]
