"""What says who won must agree with what the answers go by: the names of their columns, or their scores."""

from __future__ import annotations

from typing import Any

import pytest

from prefd.daemon.worker.data.rows import DataError
from support.dataset_rows import TRIPLES, Row, answer, chat
from support.reading_rows import read, texts

BETTER_FIRST = [(triple.better, triple.worse) for triple in TRIPLES]
NAMES = [("y_w", "y_l"), ("chosen", "rejected"), ("better_response", "worse_response"), ("answer", "rejected_answer")]


def judged(names: tuple[str, str], **verdicts: Any) -> list[Row]:
    """Rows whose verdicts, as `winner`, are made of the row's better and worse text."""
    return [
        {"prompt": t.question, names[0]: t.better, names[1]: t.worse}
        | {column: says(t) if callable(says) else says for column, says in verdicts.items()}
        for t in TRIPLES
    ]


def refusal(rows: list[Row], **spec: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(rows, **spec)
    return str(caught.value)


@pytest.mark.parametrize("names", NAMES, ids=str)
class TestSides:
    @pytest.mark.parametrize("column", ["winner", "choice", "better_id", "label"])
    def test_a_verdict_for_the_worse_side_is_refused_with_the_setting(
        self, names: tuple[str, str], column: str
    ) -> None:
        for says in (names[1], names[1].upper(), lambda t: t.worse, lambda t: f" {t.worse}\n"):
            rows = judged(names, **{column: says})
            assert (
                f"{column} says that {names[1]} is better than {names[0]}, whose name says the opposite; where the names are "
                in (refusal(rows))
            )
            assert f"(data.ignore_columns: [{column}])" in refusal(rows)
            assert texts(read(rows, ignore_columns=[column])) == BETTER_FIRST

    def test_a_verdict_for_the_better_side_changes_nothing(self, names: tuple[str, str]) -> None:
        for says in (names[0], lambda t: t.better, "", None):
            assert texts(read(judged(names, winner=says))) == BETTER_FIRST

    def test_a_tie_is_refused(self, names: tuple[str, str]) -> None:
        assert f"winner is 'Tie', and {names[0]} and {names[1]} are a better and a worse answer" in refusal(
            judged(names, winner="Tie")
        )

    def test_one_row_in_many_is_left_out(self, names: tuple[str, str]) -> None:
        rows = judged(names, winner=names[0]) * 10
        rows[4] = rows[4] | {"winner": names[1]}
        dataset = read(rows)
        assert [number for number, _ in dataset.unusable] == [5]
        assert len(dataset.pairs) == 29

    def test_what_won_of_answers_beside_the_sides_must_be_the_better_one(self, names: tuple[str, str]) -> None:
        def with_answers(says: str) -> list[Row]:
            return [
                row | {"response_a": t.worse, "response_b": t.better}
                for t, row in zip(TRIPLES, judged(names, winner=says))
            ]

        expected = (
            "y_w and y_l say by their names that the answer that lost is the better one"
            if names == ("y_w", "y_l")
            else f"winner says that {names[1]} is better than {names[0]}"
        )
        assert expected in refusal(with_answers("response_a"))
        assert texts(read(with_answers("response_b"))) == BETTER_FIRST


@pytest.mark.parametrize("letter", ["l", "L"])
def test_the_letter_of_the_worse_side_is_its_name(letter: str) -> None:
    assert "winner says that y_l is better than y_w" in refusal(judged(("y_w", "y_l"), winner=letter))
    assert texts(read(judged(("y_w", "y_l"), winner="w"))) == BETTER_FIRST


@pytest.mark.parametrize("says", [2, "2", "b", "Response 2", "model_b", -1, 2.0])
def test_a_bare_number_or_letter_beside_named_sides_is_told_of(says: Any) -> None:
    dataset = read(judged(("chosen", "rejected"), winner=says))
    assert (texts(dataset), dataset.unread) == (BETTER_FIRST, ["winner"])
    (note,) = dataset.notes
    assert note == (
        f"winner holds {says}, which names neither chosen nor rejected and is not gone by: chosen is the better one, by its name; "
        "where that is wrong, call them answer_a and answer_b and write the winner's letter into winner"
    )


@pytest.mark.parametrize(
    "more",
    [
        {"winner": True},
        {"winner": ""},
        {"label": 1},
        {"preference_strength": 2},
        {"winner": "chosen"},
        {"winner": "gpt-4"},
    ],
)
def test_what_agrees_or_is_no_mark_needs_no_word(more: Row) -> None:
    assert read(judged(("chosen", "rejected"), **more)).notes == []


def test_numbers_that_name_answers_beside_the_sides_need_no_word() -> None:
    rows = [
        row | {"response_a": t.worse, "response_b": t.better}
        for t, row in zip(TRIPLES, judged(("chosen", "rejected"), winner="b"))
    ]
    assert not any("not gone by" in note for note in read(rows).notes)


def test_conversations_are_compared_by_their_answers() -> None:
    rows: list[Row] = [
        {"chosen": chat(t.question, t.better), "rejected": chat(t.question, t.worse), "winner": t.worse}
        for t in TRIPLES
    ]
    assert "winner says that rejected is better than chosen" in refusal(rows)


def test_a_spec_that_names_the_sides_has_the_last_word() -> None:
    rows = judged(("y_w", "y_l"), winner="y_l")
    dataset = read(rows, chosen_feature="y_w", rejected_feature="y_l")
    assert texts(dataset) == BETTER_FIRST
    (note,) = dataset.notes
    assert note == (
        "in 3 of 3 rows a column of the winner says otherwise than data.chosen_feature and data.rejected_feature, which are "
        "gone by (rows 1, 2, 3)"
    )
    assert texts(read(rows, chosen_feature="y_l", rejected_feature="y_w")) == [(b, a) for a, b in BETTER_FIRST]


def in_a_list(mark: str, better: Any, worse: Any) -> list[Row]:
    return [
        {
            "prompt": t.question,
            "completions": [{"text": t.worse, "score": 1, mark: worse}, {"text": t.better, "score": 3, mark: better}],
        }
        for t in TRIPLES
    ]


def in_columns(mark: str, better: Any, worse: Any) -> list[Row]:
    return [
        {"prompt": t.question, "response_a": t.worse, "response_b": t.better, "score_a": 1, "score_b": 3}
        | {f"{mark}_a": worse, f"{mark}_b": better}
        for t in TRIPLES
    ]


def in_lists(mark: str, better: Any, worse: Any) -> list[Row]:
    return [
        {"prompt": t.question, "responses": [t.worse, t.better], "scores": [1, 3], mark: [worse, better]}
        for t in TRIPLES
    ]


def in_rows(mark: str, better: Any, worse: Any) -> list[Row]:
    return [
        {"prompt": t.question, "response": text, "score": score, mark: value}
        for t in TRIPLES
        for text, score, value in ((t.worse, 1, worse), (t.better, 3, better))
    ]


@pytest.mark.parametrize("rows", [in_a_list, in_columns, in_lists, in_rows])
@pytest.mark.parametrize("mark", ["is_accepted", "accepted", "is_best", "selected"])
@pytest.mark.parametrize(("yes", "no"), [(True, False), (1, 0), (True, None)])
class TestScored:
    def test_a_mark_on_the_answer_with_the_lower_score_is_refused(
        self, rows: Any, mark: str, yes: Any, no: Any
    ) -> None:
        message = refusal(rows(mark, no, yes))
        assert f"{mark} and " in message
        assert "disagree on which answer is better; where it is the score, name it (data.score_feature: " in message
        score = message.partition("data.score_feature: ")[2].partition(")")[0]
        assert texts(read(rows(mark, no, yes), score_feature=score)) == BETTER_FIRST

    def test_a_mark_that_agrees_or_says_nothing_changes_nothing(self, rows: Any, mark: str, yes: Any, no: Any) -> None:
        for better, worse in ((yes, no), (yes, yes), (no, no)):
            assert texts(read(rows(mark, better, worse))) == BETTER_FIRST


def test_marks_of_losers_and_other_facts_are_no_verdicts() -> None:
    for mark in ("is_rejected", "is_safe", "is_correct", "not_accepted", "model"):
        assert texts(read(in_a_list(mark, False, True))) == BETTER_FIRST


def test_the_best_of_three_must_be_marked_where_one_is() -> None:
    rows: list[Row] = [
        {
            "prompt": t.question,
            "answers": [
                {"text": t.better, "pm_score": 4, "selected": False},
                {"text": "Nobody knows.", "pm_score": 3, "selected": True},
                {"text": t.worse, "pm_score": 1, "selected": False},
            ],
        }
        for t in TRIPLES
    ]
    assert "answers.selected and answers.pm_score disagree" in refusal(rows)
    assert texts(read(rows, score_feature="answers.pm_score")) == BETTER_FIRST


def test_a_winner_beside_messages_as_sides_is_compared_too() -> None:
    rows: list[Row] = [
        {"prompt": t.question, "chosen": [answer(t.better)], "rejected": [answer(t.worse)], "winner": "rejected"}
        for t in TRIPLES
    ]
    assert "winner says that rejected is better than chosen" in refusal(rows)
