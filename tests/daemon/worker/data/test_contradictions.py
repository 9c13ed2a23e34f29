"""Columns that contradict each other, and numbers that mean no place: refused, where a guess would turn pairs round."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.prepare import load_pairs
from prefd.daemon.worker.data.rows import DataError
from support.dataset_rows import TRIPLES, Row, Triple, answer, chat, user
from support.reading_rows import FORMATS, as_messages, read, texts

BETTER_FIRST = [(triple.better, triple.worse) for triple in TRIPLES]


def swapped(place: int) -> bool:
    """Whether the row at this place has its worse answer first: of three, the second."""
    return place == 1


def ordered(place: int, triple: Triple) -> list[str]:
    return [triple.worse, triple.better] if swapped(place) else [triple.better, triple.worse]


@pytest.mark.parametrize("column", ["first_wins", "is_first_better", "a_wins", "swapped", "response_1_won"])
def test_the_number_of_a_column_that_says_yes_or_no_of_one_answer_is_no_place(column: str) -> None:
    rows = [
        {"prompt": triple.question, "responses": ordered(place, triple), column: int(not swapped(place))}
        for place, triple in enumerate(TRIPLES)
    ]
    with pytest.raises(DataError, match=f"{column} holds 0, 1, which does not say for certain"):
        read(rows, winner_feature=column)


@pytest.mark.parametrize("names", [("response_j", "response_k"), ("response_J", "response_K")])
@pytest.mark.parametrize(
    "says", [["1", "2", "1"], [1, 2, 1], ["response_j", "response_k", "response_j"], ["j", "k", "j"]]
)
def test_a_winner_that_is_the_worse_one_by_its_name_is_refused(names: tuple[str, str], says: list[Any]) -> None:
    rows = [
        {"question": triple.question, **dict(zip(names, ordered(place, triple))), "preferred": says[place]}
        for place, triple in enumerate(TRIPLES)
    ]
    with pytest.raises(DataError, match=rf"preferred says that {names[1]} is better than {names[0]}, whose name says"):
        read(rows)
    assert texts(read(rows, winner_feature="preferred")) == BETTER_FIRST


def test_sides_beside_other_sides_that_say_something_else_are_refused() -> None:
    rows = [
        {
            "question": t.question,
            "y_w": t.better,
            "y_l": t.worse,
            "preferred": "Yes, it is so.",
            "rejected_response": "No.",
        }
        for t in TRIPLES
    ]
    with pytest.raises(DataError, match="looks like an answer and says something else"):
        read(rows)


def test_a_list_of_one_answer_that_nobody_read_is_seen() -> None:
    rows = [
        {"prompt": t.question, "answer": [t.better], "accepted": "It is one.", "rejected": t.worse} for t in TRIPLES
    ]
    with pytest.raises(DataError, match="the column 'answer' looks like an answer and says something else"):
        read(rows)


@pytest.mark.parametrize(
    "names", [("response_01", "response_02"), ("answer_one", "answer_two"), ("Response 1", "Response 2")]
)
def test_numbers_are_the_same_however_they_are_written(names: tuple[str, str]) -> None:
    rows: list[Row] = [
        {
            "prompt": triple.question,
            **dict(zip(names, ordered(place, triple))),
            "winner": 1 + swapped(place),
            "score_1": 1 if swapped(place) else 5,
            "score_2": 5 if swapped(place) else 1,
        }
        for place, triple in enumerate(TRIPLES)
    ]
    dataset = read(rows)
    assert texts(dataset) == BETTER_FIRST
    assert [pair.margin for _, pair in dataset.pairs] == [4, 4, 4]


HELLO = chat("Hello", "What is it?")


@pytest.mark.parametrize("question", [lambda t: t.question, lambda t: [user(t.question)]])
def test_a_history_that_ends_with_the_question_holds_it_once(question: Any) -> None:
    rows = [
        {"history": [*HELLO, user(t.question)], "prompt": question(t), "chosen": t.better, "rejected": t.worse}
        for t in TRIPLES
    ]
    dataset = read(rows)
    assert [as_messages(pair) for _, pair in dataset.pairs] == [[*HELLO, user(t.question)] for t in TRIPLES]


def test_a_history_that_ends_with_another_question_is_refused() -> None:
    rows = [
        {"history": [*HELLO, user("Why?")], "prompt": t.question, "chosen": t.better, "rejected": t.worse}
        for t in TRIPLES
    ]
    with pytest.raises(DataError, match="'history' ends with a question that nobody answers"):
        read(rows)


@pytest.mark.parametrize("column", ["suffix", "few_shot_examples"])
def test_what_stands_around_a_prompt_is_asked_about(column: str) -> None:
    rows = [
        {"prompt": t.question, column: "Be brief, and be kind.", "chosen": t.better, "rejected": t.worse}
        for t in TRIPLES
    ]
    order = "[prompt, suffix]" if column == "suffix" else "[few_shot_examples, prompt]"
    with pytest.raises(DataError) as refused:
        read(rows)
    assert f"the column '{column}' may belong to the prompt" in str(refused.value)
    assert f"(data.prompt_feature: {order})" in str(refused.value)


def test_a_system_turn_of_one_side_is_asked_about() -> None:
    rows = [
        {"prompt": t.question, "system_prompt_chosen": "Be kind.", "chosen": t.better, "rejected": t.worse}
        for t in TRIPLES
    ]
    with pytest.raises(DataError, match="'system_prompt_chosen' looks like a system turn"):
        read(rows)
    assert len(read([row | {"system_prompt_chosen": ""} for row in rows]).pairs) == 3


@pytest.mark.parametrize(
    "value",
    [
        {"bytes": "iVBOR", "path": "a.png"},
        [{"bytes": None, "path": "a.png"}],
        {"bytes": "", "path": "", "sampling_rate": 1},
    ],
)
def test_files_under_any_name_are_no_text(value: Any) -> None:
    dataset = read([{"picture": value, "prompt": t.question, "chosen": t.better, "rejected": t.worse} for t in TRIPLES])
    assert dataset.pairs == []
    assert all("the column 'picture' is no text: prefd trains on text" in str(reason) for _, reason in dataset.unusable)


def test_scores_of_sides_that_are_known_by_letters_are_theirs() -> None:
    rows = [
        {"question": t.question, "response_j": t.better, "response_k": t.worse, "score_j": score, "score_k": 2}
        for t, score in zip(TRIPLES, (3, 1, 2))
    ]
    assert [pair.margin for _, pair in read(rows).pairs] == [1, -1, 0]
    assert [number for number, _ in read(rows, min_margin=1).pairs] == [1]


def test_one_side_that_holds_the_conversation_is_said() -> None:
    dataset = read([{"chosen": chat(t.question, t.better), "rejected": [answer(t.worse)]} for t in TRIPLES])
    assert {str(reason).partition(":")[0] for _, reason in dataset.unusable} == {
        "only chosen is a whole conversation, and no column is the prompt"
    }


def test_the_json_text_of_openais_input_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {
            "input": json.dumps({"messages": [user(t.question)], "tools": []}),
            "preferred_output": json.dumps([answer(t.better)]),
            "non_preferred_output": json.dumps([answer(t.worse)]),
        }
        for t in TRIPLES
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    dataset = load_pairs(DataSpec(path=str(path)), FORMATS)
    assert dataset.format == "openai"
    assert [as_messages(pair) for _, pair in dataset.pairs] == [[user(t.question)] for t in TRIPLES]


SCHEMA = {"name": "weather", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    "value", [[SCHEMA], json.dumps([SCHEMA]), [{"type": "function", "function": SCHEMA}]], ids=["bare", "text", "whole"]
)
def test_tools_under_another_name_are_asked_about(value: Any) -> None:
    rows = [{"prompt": t.question, "functions": value, "chosen": t.better, "rejected": t.worse} for t in TRIPLES]
    with pytest.raises(DataError, match="the column 'functions' looks like tools and is not read; call it 'tools'"):
        read(rows)
    assert len(read(rows, ignore_columns=["functions"]).pairs) == 3
    assert len(read([row | {"tools": [SCHEMA]} for row in rows]).pairs) == 3


def test_answers_that_are_all_right_make_no_pair() -> None:
    rows = [
        {
            "question": t.question,
            "best_answer": t.better,
            "correct_answers": [t.better, "So it is."],
            "incorrect_answers": [t.worse],
        }
        for t in TRIPLES
    ]
    with pytest.raises(DataError):
        read(rows)


def test_a_transcript_of_single_line_breaks_is_said() -> None:
    rows = [
        {
            side: f"Human: {t.question}\nAssistant: {text}"
            for side, text in (("chosen", t.better), ("rejected", t.worse))
        }
        for t in TRIPLES
    ]
    with pytest.raises(DataError, match="no 'Assistant:' begins behind two line breaks"):
        read(rows)


@pytest.mark.parametrize("sides", ["both", "one", "numbered"])
def test_a_transcript_before_answers_that_are_messages_becomes_messages_too(sides: str) -> None:
    def row(place: int, t: Triple) -> Row:
        prompt = {"prompt": f"\n\nHuman: {t.question}\n\nAssistant:"}
        if sides == "numbered":
            return prompt | {"response_0": [answer(t.better)], "response_1": [answer(t.worse)], "better_response_id": 0}
        return prompt | {"chosen": [answer(t.better)] if sides == "both" else t.better, "rejected": [answer(t.worse)]}

    dataset = read(
        [row(place, t) for place, t in enumerate(TRIPLES)],
        **({"winner_feature": "better_response_id"} if sides == "numbered" else {}),
    )
    assert [as_messages(pair) for _, pair in dataset.pairs] == [[user(t.question)] for t in TRIPLES]
    assert texts(dataset) == BETTER_FIRST


def test_a_prompt_that_nobody_asks_is_refused() -> None:
    dataset = read([{"prompt": [answer(t.question)], "chosen": t.better, "rejected": t.worse} for t in TRIPLES])
    assert {str(reason) for _, reason in dataset.unusable} == {
        "the prompt is an assistant's turn alone: nobody asks anything"
    }


def test_what_stands_for_a_missing_value_in_a_prompt_is_told_of() -> None:
    rows = [
        {"instruction": t.question, "input": value, "chosen": t.better, "rejected": t.worse}
        for t, value in zip(TRIPLES, ("nan", "", "a nan"))
    ]
    (note,) = read(rows).notes
    assert note.startswith("in 1 pair the prompt is or ends with 'nan' or 'None' on a line of its own")
    assert note.endswith("(row 1)")
