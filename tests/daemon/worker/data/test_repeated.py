"""Pairs that are there more than once, and pairs that contradict each other."""

from __future__ import annotations

from support.dataset_rows import Row, user
from support.reading_rows import read

ROW: Row = {"prompt": "Q", "chosen": "good", "rejected": "bad"}


def test_a_pair_that_is_there_again_is_told_and_kept() -> None:
    dataset = read([ROW, ROW | {"prompt": "R"}, ROW, ROW])
    assert len(dataset.pairs) == 4
    assert dataset.notes == ["2 pairs repeat earlier ones (rows 3, 4)"]


def test_pairs_that_contradict_each_other_are_told() -> None:
    dataset = read([ROW, ROW | {"prompt": "R"}, {"prompt": "Q", "chosen": "bad", "rejected": "good"}])
    assert len(dataset.pairs) == 3
    assert dataset.notes == [
        "2 pairs contradict each other: what one prefers another rejects, for the same prompt (rows 1, 3)"
    ]


def test_messages_are_compared_too() -> None:
    row: Row = {"prompt": [user("Q")], "chosen": "good", "rejected": "bad"}
    assert read([row, row]).notes == ["1 pair repeats an earlier one (row 2)"]


def test_other_answers_or_tools_are_no_repetition() -> None:
    tools = [{"type": "function", "function": {"name": "now"}}]
    assert read([ROW, ROW | {"rejected": "worse"}, ROW | {"prompt": "R"}, ROW | {"tools": tools}]).notes == []


def test_a_side_that_only_repeats_its_prompt_is_told() -> None:
    rows = [ROW, ROW | {"prompt": "What  is it?", "rejected": "What is it? "}, ROW | {"prompt": "A", "chosen": "A."}]
    assert read(rows).notes == ["in 1 pair one side only repeats the prompt (row 2)"]
    rows = [{"prompt": [user("Why?")], "chosen": "Why?", "rejected": "No."}]
    assert read(rows).notes == ["in 1 pair one side only repeats the prompt (row 1)"]


def test_a_side_that_stands_for_a_missing_value_is_told() -> None:
    rows = [ROW, ROW | {"prompt": "R", "rejected": "nan"}, ROW | {"prompt": "S", "chosen": "None"}]
    dataset = read(rows)
    assert len(dataset.pairs) == 3
    assert len(dataset.notes) == 1
    assert dataset.notes[0].startswith("in 2 pairs one side is 'nan' or 'None', as a table without a value writes it")
    assert dataset.notes[0].endswith("(rows 2, 3)")
