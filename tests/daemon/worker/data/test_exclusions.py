"""What the list of `data.exclude` leaves out, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.exclusions import digest_pair, read_exclusions
from prefd.daemon.worker.data.prepare import DataError, PreparedData, prepare
from prefd.daemon.worker.data.prompts import ChatTokenizer
from prefd.plugins import formats
from prefd.plugins.types import Pair, RowFormat
from support import tiny_model

FORMATS: dict[str, RowFormat] = {}
formats.register_formats(FORMATS.__setitem__)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    from mlx_lm.utils import load_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_model.build_tokenizer(folder)
    tokenizer: ChatTokenizer = load_tokenizer(folder)
    return tokenizer


def prepare_without(folder: Path, tokenizer: ChatTokenizer, exclusions: str, **more: object) -> PreparedData:
    rows = [{"prompt": f"Q{n}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(1, 6)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "exclude.txt").write_text(exclusions)
    spec = {"path": str(folder / "pairs.jsonl"), "exclude": str(folder / "exclude.txt"), "validation": 0.0, **more}
    return prepare(DataSpec.model_validate(spec), tokenizer, FORMATS)


@pytest.mark.parametrize("begin", ["", "\ufeff"], ids=["plain", "as Windows' editors begin a file"])
def test_digests_and_places_leave_pairs_out_and_the_report_says_how_many(
    tmp_path: Path, tokenizer: ChatTokenizer, begin: str
) -> None:
    digest = digest_pair(Pair("Q2", "yes 2", "no 2"))
    data = prepare_without(tmp_path, tokenizer, f"{begin}{digest}  # a remark\n\npairs.jsonl:4 # why\n")
    assert [example.row for example in data.train] == [1, 3, 5]
    assert "2 pairs left out (data.exclude)" in data.report.lines()
    assert data.report.train.left_out == 2


def test_an_example_carries_the_digest_that_names_it(tmp_path: Path, tokenizer: ChatTokenizer) -> None:
    digests = [example.digest for example in prepare_without(tmp_path, tokenizer, "").train]
    assert digests == [digest_pair(Pair(f"Q{n}", f"yes {n}", f"no {n}")) for n in range(1, 6)]
    data = prepare_without(tmp_path, tokenizer, f"{digests[0]}\n")
    assert [example.digest for example in data.train] == digests[1:]


def test_held_out_pairs_of_a_source_of_their_own_are_left_out_too(tmp_path: Path, tokenizer: ChatTokenizer) -> None:
    (tmp_path / "others.jsonl").write_text(
        "".join(json.dumps({"prompt": "P", "chosen": f"a{n}", "rejected": "b"}) + "\n" for n in range(2))
    )
    data = prepare_without(tmp_path, tokenizer, "others.jsonl:2\n", validation=str(tmp_path / "others.jsonl"))
    assert (len(data.train), len(data.held_out)) == (5, 1)
    assert not any("names no pair" in line for line in data.report.lines())


def test_a_line_that_names_no_pair_is_told(tmp_path: Path, tokenizer: ChatTokenizer) -> None:
    data = prepare_without(tmp_path, tokenizer, "pairs.jsonl:17\npairs.jsonl:1\n")
    assert "1 line of data.exclude names no pair of the data (pairs.jsonl:17)" in data.report.lines()
    assert len(data.train) == 4


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"row": 3}\n', "exclude.txt:1 is JSON"),
        (b"\xff\xfe", "no text in UTF-8"),
        (b"pairs.jsonl:1\npairs.jsonl:2\npairs.jsonl:3\npairs.jsonl:4\npairs.jsonl:5\n", "nothing is left"),
    ],
)
def test_what_is_no_list_or_leaves_nothing_is_refused(
    tmp_path: Path, tokenizer: ChatTokenizer, content: bytes, problem: str
) -> None:
    prepare_without(tmp_path, tokenizer, "")
    (tmp_path / "exclude.txt").write_bytes(content)
    spec = DataSpec(path=str(tmp_path / "pairs.jsonl"), exclude=str(tmp_path / "exclude.txt"), validation=0.0)
    with pytest.raises(DataError, match=problem):
        prepare(spec, tokenizer, FORMATS)


def test_a_list_that_is_not_there_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_exclusions(tmp_path / "none.txt")
