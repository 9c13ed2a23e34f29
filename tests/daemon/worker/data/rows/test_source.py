"""Reading rows: every file type as it stands, and every bad file with a message that says what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefd.daemon.specs.data_files import SUFFIXES
from prefd.daemon.worker.data.rows import DataError
from support.row_files import MESSAGES, ROWS, failure, read, write_rows


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
class TestEveryFileType:
    def test_rows_come_back_as_they_are(self, tmp_path: Path, suffix: str) -> None:
        assert read(write_rows(tmp_path / f"pairs.{suffix}", ROWS)) == ROWS

    def test_a_changed_file_is_read_anew(self, tmp_path: Path, suffix: str) -> None:
        path = write_rows(tmp_path / f"pairs.{suffix}", ROWS)
        read(path)
        assert read(write_rows(path, ROWS[:1])) == ROWS[:1]

    def test_messages(self, tmp_path: Path, suffix: str) -> None:
        assert read(write_rows(tmp_path / f"pairs.{suffix}", MESSAGES)) == MESSAGES

    def test_nothing_of_it_is_kept_elsewhere(
        self, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        read(write_rows(tmp_path / f"pairs.{suffix}", ROWS))
        assert not [path for path in tmp_path.glob("cache/**/*") if path.is_file()]


class TestJson:
    def test_rows_of_other_types_are_kept(self, tmp_path: Path) -> None:
        mixed = [*ROWS, {"prompt": 1, "chosen": ["x"], "rejected": None, "more": {"a": 1.5}}]
        assert read(write_rows(tmp_path / "a.jsonl", mixed)) == mixed
        assert read(write_rows(tmp_path / "a.json", mixed)) == mixed

    def test_lines_that_are_no_rows_are_named_and_the_rest_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n{oops\n[1]\n"\xff"\n' + b"[" * 200_000 + b'\r\n{"a": 2}')
        expected = [
            {"a": 1},
            "not JSON",
            "not a JSON object, but a list: write each row as an object with the names of its columns",
            "not UTF-8 (save the file as UTF-8)",
            "not JSON",
            {"a": 2},
        ]
        assert read(path) == expected

    def test_a_json_file_of_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text('{"a": 1}\n{oops\n{"a": 2}\n')
        assert read(path) == [{"a": 1}, "not JSON", {"a": 2}]
        path.write_text('{"a":\n1}')
        assert read(path) == [{"a": 1}]

    def test_a_list_with_something_else_in_it(self, tmp_path: Path) -> None:
        path = tmp_path / "a.json"
        path.write_text('[{"a": 1}, 5]')
        assert read(path) == [{"a": 1}, "not a JSON object"]

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (
                b'[{"a": 1}, {"a"',
                "not JSON: Expecting ':' delimiter: line 1 column 16 (char 15); write a list of objects",
            ),
            (b'[{"a": "\xff"}]', "not UTF-8 at byte 8; save the file as UTF-8"),
            (b"[" * 200_000, "nested too deeply"),
            (b" \n", "the file is empty: it has no rows"),
            (b"[]", "the file is empty: it has no rows"),
        ],
    )
    def test_bad_files(self, tmp_path: Path, content: bytes, expected: str) -> None:
        path = tmp_path / "a.json"
        path.write_bytes(content)
        assert failure(path).startswith(f"{path}: ")
        assert expected in failure(path)


class TestCsv:
    def test_a_row_with_other_cells_than_the_header_shifts_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("\ufeffprompt,chosen\nq,a,extra\nq,a\n\nq\n", encoding="utf-8")
        wrong = "not as many cells as the header's 2"
        assert read(path) == [wrong, {"prompt": "q", "chosen": "a"}, wrong]

    def test_long_cells_and_text_that_looks_like_json(self, tmp_path: Path) -> None:
        path = write_rows(tmp_path / "a.csv", [{"chosen": "x" * 300_000, "rejected": "[{oops", "more": '[{"a": 1}]'}])
        assert read(path) == [{"chosen": "x" * 300_000, "rejected": "[{oops", "more": '[{"a": 1}]'}]

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (b"a,b\n", "the file is empty: it has no rows"),
            (b"", "the file is empty: it has no rows"),
            (b"a,a\n1,2\n", "two columns have the same name: a, a"),
            (b'a,b\n1,"2\n3,4\n', "not CSV at line 3: unexpected end of data"),
            (b"a,b\n1,2\n\n\xff,2\n", "not UTF-8 at line 4; save the file as UTF-8"),
        ],
    )
    def test_bad_files(self, tmp_path: Path, content: bytes, expected: str) -> None:
        path = tmp_path / "a.csv"
        path.write_bytes(content)
        assert failure(path).startswith(f"{path}: ")
        assert expected in failure(path)


def test_bad_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 but not really")
    assert failure(path).startswith(f"{path}: not a parquet file that can be read: ")


class TestPaths:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        write_rows(tmp_path / "pairs.jsonl", ROWS)
        path = tmp_path / "pair.jsonl"
        assert failure(path) == f"{path}: no such file or folder; did you mean {tmp_path / 'pairs.jsonl'}?"
        path = tmp_path / "nowhere" / "x.jsonl"
        assert failure(path) == f"{path}: no such file or folder (there is no folder {path.parent} either)"

    def test_an_unknown_suffix(self, tmp_path: Path) -> None:
        for name, shown in (("pairs.txt", "'.txt'"), ("pairs", "'a file without a suffix'")):
            (tmp_path / name).write_text("x")
            assert failure(tmp_path / name) == (
                f"{tmp_path / name}: cannot read {shown}; give a .jsonl, .json, .csv, .tsv, .parquet or .arrow file "
                "(text also as .gz or .zst), a folder of them or of datasets.save_to_disk, or a Hugging Face dataset id"
            )

    def test_a_folder_that_cannot_be_opened_is_said_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_rows(tmp_path / "pairs.jsonl", ROWS)

        def refuse(*_: Any, **__: Any) -> Any:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        assert failure(path) == f"{path}: cannot be read: Permission denied"


class TestFolders:
    def test_every_file_in_order_of_name(self, tmp_path: Path) -> None:
        for name, row in (("b/2.json", 1), ("c.csv", 2), ("a.parquet", 0)):
            write_rows(tmp_path / name, [ROWS[row]])
        (tmp_path / "README.md").write_text("# Pairs")
        (tmp_path / ".hidden.jsonl").write_text("{}")
        assert read(tmp_path) == ROWS

    def test_a_folder_without_data(self, tmp_path: Path) -> None:
        (tmp_path / "weights.bin").write_text("x")
        message = f"{tmp_path}: no file in this folder can be read (it holds weights.bin); give a .jsonl,"
        assert failure(tmp_path).startswith(message)


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.lists(st.text(max_size=5), max_size=3)


@settings(max_examples=25)
@given(st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=3), min_size=2, max_size=4))
def test_any_objects_come_back_from_lines(tmp_path_factory: pytest.TempPathFactory, objects: list[Any]) -> None:
    """A single object may be a document, such as `{"rows": []}`: with two or more, each is a row whatever its keys."""
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    assert read(write_rows(path, objects)) == objects


@settings(max_examples=30)
@given(st.binary(max_size=200), st.sampled_from(sorted(SUFFIXES)))
def test_any_bytes_are_rows_or_an_error_that_names_the_file(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("bytes") / f"a{suffix}"
    path.write_bytes(content)
    error: DataError | None = None
    try:
        read(path)
    except DataError as raised:
        error = raised
    assert error is None or str(path) in str(error)
