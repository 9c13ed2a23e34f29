"""JSON text in a cell means what it means in any other file, by the name of its column."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.prepare import load_pairs
from prefd.daemon.worker.data.rows import DataError
from prefd.plugins.formats.json_cells import decode_row
from prefd.plugins.formats.messages import check_prose
from prefd.plugins.types import UnusableRow
from support.dataset_rows import TRIPLES, answer, user
from support.reading_rows import FORMATS, as_messages, texts_of_pairs
from support.row_files import write_rows


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("history", [["Hi", "Hello"]]),
        ("chat_history", [["Hi", "Hello"]]),
        ("prompt", [["Hi", "Hello"], ["Why?", None]]),
        ("conversation", [{"input": "Hi", "output": "Hello"}]),
        ("completions", [{"text": "b", "score": 2}, {"text": "w", "score": 1}]),
        ("responses", ["b", "w"]),
        ("scores", [2, 1.5]),
        ("info", {"post": "p"}),
        ("question", {"dataset": "eli5", "full_text": "Why?"}),
        ("history", []),
        ("completions", []),
        ("prompt", []),
    ],
)
def test_lists_of_turns_answers_and_scores_are_decoded(column: str, value: Any) -> None:
    assert decode_row({column: json.dumps(value)}) == {column: value}


@pytest.mark.parametrize(
    ("column", "value"),
    [("prompt", [1, 2]), ("prompt", ["a", "b"]), ("chosen", [["a", "b"]]), ("meta", {"a": 1}), ("helpfulness", [1])],
)
def test_other_json_stays_text(column: str, value: Any) -> None:
    assert decode_row({column: json.dumps(value)}) == {column: json.dumps(value)}


@pytest.mark.parametrize("written", [json.dumps, lambda text: "\ufeff" + json.loads(json.dumps(text))])
def test_messages_that_were_encoded_twice_or_behind_a_mark_are_messages(written: Any) -> None:
    row = {"chosen": written(json.dumps([answer("b")]))}
    assert decode_row(row) == {"chosen": [answer("b")]}


def test_a_csv_of_turns_is_read_as_its_jsonl_is(tmp_path: Path) -> None:
    turns = [["Hi", "Hello"], ["Go on", None]]
    rows = [{"conversation": json.dumps(turns), "chosen": t.better, "rejected": t.worse} for t in TRIPLES]
    dataset = load_pairs(DataSpec(path=str(write_rows(tmp_path / "a.csv", rows))), FORMATS)
    assert [as_messages(pair) for _, pair in dataset.pairs] == [[user("Hi"), answer("Hello"), user("Go on")]] * 3
    assert texts_of_pairs(dataset.pairs) == [(t.better, t.worse) for t in TRIPLES]


@pytest.mark.parametrize(
    "text",
    [
        str([{"weight": 1, "role": "assistant", "content": "b"}]),
        str({"name": "x", "role": "user", "content": "b"}),
        str([OrderedDict(role="user", content="b")]),
        '[{"weight": 1, "role": "assistant", "content": "b"',
        '[{"role": "assistant", "content": "b", "content": "c"}]',
    ],
)
def test_messages_with_another_key_in_front_are_not_prose(text: str) -> None:
    with pytest.raises(UnusableRow):
        check_prose(text)


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda text: json.dumps([text]),
        lambda text: json.dumps(text),
        lambda text: json.dumps({"content": text}),
        lambda text: json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}),
        lambda text: str([text]),
        lambda text: str(text.encode()),
    ],
    ids=["list", "quotes", "object", "answer of OpenAI's service", "repr", "bytes"],
)
def test_answers_in_the_syntax_of_a_list_or_bytes_are_refused(tmp_path: Path, wrapped: Any) -> None:
    rows = [{"prompt": t.question, "chosen": wrapped(t.better), "rejected": wrapped(t.worse)} for t in TRIPLES]
    path = write_rows(tmp_path / "a.jsonl", rows)
    with pytest.raises(
        DataError, match=r"in 3 of 3 pairs chosen and rejected is text that was written as a list.*a.jsonl:1, 2, 3"
    ):
        load_pairs(DataSpec(path=str(path)), FORMATS)
    dataset = load_pairs(DataSpec(path=str(path), chosen_feature="chosen", rejected_feature="rejected"), FORMATS)
    assert texts_of_pairs(dataset.pairs)[0] == (wrapped(TRIPLES[0].better), wrapped(TRIPLES[0].worse))


@pytest.mark.parametrize(
    "wrapped", [json.dumps, lambda text: str(text.encode()), lambda text: json.dumps({"content": text})]
)
def test_prompts_in_such_syntax_are_refused_unless_the_spec_names_them(tmp_path: Path, wrapped: Any) -> None:
    rows = [{"prompt": wrapped(t.question), "chosen": t.better, "rejected": t.worse} for t in TRIPLES]
    path = write_rows(tmp_path / "a.jsonl", rows)
    with pytest.raises(
        DataError, match=r"in 3 of 3 pairs prompt is text that was .*, name their column \(data\.prompt_fea"
    ):
        load_pairs(DataSpec(path=str(path)), FORMATS)
    named = load_pairs(DataSpec(path=str(path), prompt_feature="prompt"), FORMATS)
    assert [pair.prompt for _, pair in named.pairs] == [row["prompt"] for row in rows]
    write_rows(path, [*rows[:1], *({"prompt": t.question, "chosen": t.better, "rejected": t.worse} for t in TRIPLES)])
    assert len(load_pairs(DataSpec(path=str(path)), FORMATS).pairs) == 4


def test_one_side_in_such_syntax_is_refused_too(tmp_path: Path) -> None:
    rows = [{"prompt": t.question, "chosen": t.better, "rejected": json.dumps([t.worse])} for t in TRIPLES]
    with pytest.raises(DataError, match=r"in 3 of 3 pairs rejected is text that was written as a list"):
        load_pairs(DataSpec(path=str(write_rows(tmp_path / "a.jsonl", rows))), FORMATS)


def test_one_of_two_columns_in_such_syntax_is_refused_whichever_side_it_is(tmp_path: Path) -> None:
    rows = [
        {"prompt": t.question, "response_0": json.dumps([first]), "response_1": second, "better_response_id": better}
        for t, better in zip(TRIPLES, (0, 1, 0))
        for first, second in [(t.worse, t.better) if better else (t.better, t.worse)]
    ]
    with pytest.raises(DataError, match=r"in 3 of 3 pairs chosen and rejected is text that was written as a list"):
        load_pairs(DataSpec(path=str(write_rows(tmp_path / "a.jsonl", rows))), FORMATS)


def test_answers_in_json_that_was_asked_for_are_read(tmp_path: Path) -> None:
    rows = [
        {"prompt": t.question, "chosen": json.dumps({"reply": t.better}), "rejected": json.dumps({"reply": t.worse})}
        for t in TRIPLES
    ]
    assert len(load_pairs(DataSpec(path=str(write_rows(tmp_path / "a.jsonl", rows))), FORMATS).pairs) == 3
