"""Answers and a column that says which won: names, letters, numbers, strengths, ties."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from prefd.daemon.worker.data.rows import DataError
from prefd.plugins.types import Pair
from support.dataset_rows import TRIPLES, Row, answer, chat, user
from support.dataset_shapes import SHAPES, rows_of
from support.reading_rows import of, read, texts


class TestWinner:
    ROWS = staticmethod(
        lambda says: [row | {"winner": value} for row, value in zip(of("prompt", "response_a", "response_b"), says)]
    )

    def test_ties_are_no_pair_and_are_named(self) -> None:
        dataset = read(self.ROWS(["response_a", "tie (bothbad)", "tie"]))
        assert texts(dataset) == [(TRIPLES[0].better, TRIPLES[0].worse)]
        assert [(number, str(reason)) for number, reason in dataset.unusable] == [
            (2, "a tie: winner is 'tie (bothbad)'"),
            (3, "a tie: winner is 'tie'"),
        ]

    def test_a_strength_of_0_is_a_tie(self) -> None:
        rows = [
            row | {"overall_preference": value}
            for row, value in zip(of("prompt", "response1", "response2"), (-3, 0, 1))
        ]
        dataset = read(rows)
        assert [(number, pair.margin) for number, pair in dataset.pairs] == [(1, 3.0), (3, 1.0)]
        assert texts(dataset)[1] == (TRIPLES[2].worse, TRIPLES[2].better)
        assert [(number, str(reason)) for number, reason in dataset.unusable] == [(2, "a tie: overall_preference is 0")]

    def test_a_strength_that_may_be_a_number_is_refused(self) -> None:
        rows = [
            row | {"overall_preference": value} for row, value in zip(of("prompt", "response1", "response2"), (1, 2, 1))
        ]
        with pytest.raises(DataError, match="never below 0: it may be a strength or the number of an answer"):
            read(rows)

    def test_the_model_that_won_may_be_named(self) -> None:
        rows = [row | {"model_a": "x", "model_b": "y"} for row in self.ROWS(["y", "x", "x"])]
        assert texts(read(rows))[0] == (TRIPLES[0].worse, TRIPLES[0].better)

    @pytest.mark.parametrize(
        ("first", "second", "tie"),
        [
            ("A>B", "B>A", "A=B"),
            ("A>>B", "A<B", "A==B"),
            ("[[A]]", "[[B]]", "[[C]] tie"),
            ("Response A", "response_b", "Both"),
        ],
    )
    def test_verdicts_in_other_words(self, first: str, second: str, tie: str) -> None:
        dataset = read(self.ROWS([first, second, tie.removeprefix("[[C]] ")]))
        assert texts(dataset) == [(TRIPLES[0].better, TRIPLES[0].worse), (TRIPLES[1].worse, TRIPLES[1].better)]
        assert [number for number, reason in dataset.unusable if str(reason).startswith("a tie")] == [3]

    def test_answers_that_are_the_first_and_the_second(self) -> None:
        rows = [
            row | {"winner": value}
            for row, value in zip(of("prompt", "first_response", "second_response"), ("second", "first", "first"))
        ]
        assert texts(read(rows))[0] == (TRIPLES[0].worse, TRIPLES[0].better)

    def test_an_answer_that_is_missing_is_named(self) -> None:
        rows = self.ROWS(["response_a", "response_a", "response_a"])
        rows[1]["response_b"] = None
        assert [(number, str(reason)) for number, reason in read(rows).unusable] == [
            (2, "wrong types: response_b is missing, not text or chat messages")
        ]

    def test_another_name_than_the_answers_is_said(self) -> None:
        dataset = read(self.ROWS(["response_a", "response_a", "response_c"]))
        assert [str(reason) for _, reason in dataset.unusable] == [
            "winner 'response_c' is none of response_a and response_b"
        ]

    def test_the_safer_answer_where_the_spec_asks_for_it(self) -> None:
        rows = rows_of(SHAPES["PKU-SafeRLHF"])
        dataset = read(rows, winner_feature="safer_response_id")
        assert texts(dataset)[1] == (TRIPLES[1].worse, TRIPLES[1].better)
        assert (
            "better_response_id says otherwise in 1 of 3 rows (data.winner_feature: better_response_id would go by it)"
            in dataset.notes
        )

    def test_a_column_of_any_name_where_the_spec_names_it(self) -> None:
        rows = [row | {"verdict": value} for row, value in zip(of("prompt", "response_a", "response_b"), "ABA")]
        dataset = read(rows, winner_feature="verdict")
        assert texts(dataset)[1] == (TRIPLES[1].worse, TRIPLES[1].better)
        assert dataset.unread == []

    def test_a_cell_of_text_says_the_turn_as_well(self) -> None:
        talks = {f"conversation_{mark}": [*chat("First?", mark), *chat("Second?", mark * 2)] for mark in "ab"}
        assert read([talks | {"winner": "b", "turn": "1"}]).pairs == [
            (1, Pair([user("First?")], [answer("b")], [answer("a")]))
        ]

    def test_it_is_refused_where_the_sides_have_names(self) -> None:
        with pytest.raises(DataError, match=r"data\.winner_feature: ROWS is in format explicit, which has one pair"):
            read(of("prompt", "chosen", "rejected", label=1), winner_feature="label")

    def test_only_the_judged_turn_of_a_conversation_is_read(self) -> None:
        def talk(one: str, two: str) -> list[Any]:
            return [*chat("First?", one), *chat("Second?", two)]

        row = {"winner": "model_a", "turn": 1, "conversation_a": talk("a", "c"), "conversation_b": talk("b", "d")}
        assert read([row]).pairs == [(1, Pair([user("First?")], [answer("a")], [answer("b")]))]
        both = read([row | {"turn": 2}]).pairs
        assert both == [(1, Pair([user("First?")], talk("a", "c")[1:], talk("b", "d")[1:]))]

    @pytest.mark.parametrize("pairs", ["best_rest", "all"])
    def test_the_winner_of_many_is_paired_with_each_other_one_where_asked_for(self, pairs: Any) -> None:
        row = {"prompt": "Which?", "answer_a": "x", "answer_b": "y", "answer_c": "z", "winner": "B"}
        with pytest.raises(DataError, match=r"not the worst: data\.pairs: best_rest takes it against each other"):
            read([row])
        assert [(pair.chosen, pair.rejected) for _, pair in read([row], pairs=pairs).pairs] == [("y", "x"), ("y", "z")]

    def test_lists_of_turns_are_conversations(self) -> None:
        row = {
            "prompt": '["First?", "Second?"]',
            "response_a": '["a", "b"]',
            "response_b": '["c", "d"]',
            "winner_model_a": 0,
            "winner_model_b": 1,
            "winner_tie": 0,
        }
        rest = [user("Second?"), answer("d")]
        assert read([row]).pairs == [
            (1, Pair([user("First?")], [answer("c"), *rest], [answer("a"), user("Second?"), answer("b")]))
        ]
        for odd in ('["a"]', '["a", null]', "a"):
            assert [str(reason) for _, reason in read([row | {"response_a": odd}]).unusable] == [
                "wrong types: the prompt is a list of turns, and an answer has not one text for each"
            ]
        tied = read([row, row | {"winner_model_b": 0, "winner_tie": 1}])
        assert [str(reason) for _, reason in tied.unusable] == ["a tie: no answer is preferred"]


def test_the_labels_of_shp_are_believed_whatever_the_scores() -> None:
    rows = [row | {"score_A": 1, "score_B": 1} for row in rows_of(SHAPES["SHP"])]
    assert texts(read(rows)) == [(t.better, t.worse) for t in TRIPLES]
    rows = [row | {"score_A": 9, "score_B": 1} for row in rows_of(SHAPES["SHP"])]
    dataset = read(rows)
    assert texts(dataset) == [(t.better, t.worse) for t in TRIPLES]
    assert "in 1 pair chosen scores lower than rejected (row 2); data.min_margin leaves such pairs out" in dataset.notes


def test_a_winner_and_scores_that_disagree_are_refused() -> None:
    rows = of("prompt", "response_a", "response_b", winner="response_a", score_a=1, score_b=2)
    with pytest.raises(DataError) as caught:
        read(rows)
    assert str(caught.value) == (
        "data.path: ROWS: winner and score disagree on which answer is better; name the one to go by "
        "(data.winner_feature: winner, or data.score_feature: score) (rows 1, 2, 3)"
    )
    assert texts(read(rows, winner_feature="winner"))[0] == (TRIPLES[0].better, TRIPLES[0].worse)
    assert texts(read(rows, score_feature="score"))[0] == (TRIPLES[0].worse, TRIPLES[0].better)


@pytest.mark.parametrize(
    "column",
    ["loser", "worse_response_id", "rejected", "losing_side", "worst", "more_toxic", "less_helpful", "least_preferred"],
)
def test_a_column_of_the_losing_side_is_no_winner(column: str) -> None:
    rows = of("prompt", "response_a", "response_b", **{column: "A"})
    with pytest.raises(
        DataError, match=f"data.winner_feature: ROWS: '{column}', by its name, says which answer is the"
    ):
        read(rows, winner_feature=column)


def test_the_less_harmful_one_is_a_winner() -> None:
    rows: list[Row] = [{"prompt": "Q", "response_a": "x", "response_b": "y", "less_harmful": "B"}]
    assert texts(read(rows, winner_feature="less_harmful")) == [("y", "x")]


class TestCounting:
    """Numbers that may count from 0 or from 1 choose no answer."""

    FROM_0: ClassVar = {"prompt": "Q", "response_0": "zero", "response_1": "one"}
    FROM_1: ClassVar = {"prompt": "Q", "response_1": "one", "response_2": "two"}

    @pytest.mark.parametrize("says", [("Response 1", "Response 2"), ("Response 1", "Response 1"), ("1", "1"), (1, 1)])
    def test_a_count_from_1_over_columns_from_0_is_refused(self, says: tuple[Any, Any]) -> None:
        with pytest.raises(
            DataError, match=r"write the name of the winning column \(response_0 or response_1\) into it"
        ):
            read([self.FROM_0 | {"winner": value} for value in says])

    @pytest.mark.parametrize("says", [("Response 1", "Response 0"), ("response_1", "response_1"), (1, 0)])
    def test_a_count_that_is_the_columns_own_is_read(self, says: tuple[Any, Any]) -> None:
        assert texts(read([self.FROM_0 | {"winner": value} for value in says]))[0] == ("one", "zero")

    def test_an_id_of_a_response_is_the_number_in_its_name(self) -> None:
        assert texts(read([self.FROM_0 | {"better_response_id": 1}])) == [("one", "zero")]

    def test_an_index_from_0_is_read_over_columns_from_1(self) -> None:
        dataset = read([self.FROM_1 | {"winner_index": value} for value in (0, 1)])
        assert texts(dataset) == [("one", "two"), ("two", "one")]

    @pytest.mark.parametrize(("first", "second"), [("A", "B"), ("model_a", "model_b"), ("Response A", "Response B")])
    def test_letters_are_read_over_columns_from_1(self, first: str, second: str) -> None:
        dataset = read([self.FROM_1 | {"winner": value} for value in (first, second)])
        assert texts(dataset) == [("one", "two"), ("two", "one")]

    def test_half_way_between_is_a_tie(self) -> None:
        dataset = read([self.FROM_1 | {"preference": value} for value in (1, 2, 1.5)])
        assert texts(dataset) == [("one", "two"), ("two", "one")]
        assert [str(reason) for _, reason in dataset.unusable] == ["a tie: preference is 1.5"]

    @pytest.mark.parametrize(("value", "shown_value"), [(True, "True"), (0.3, "0.3")])
    def test_what_is_no_place_is_shown_as_it_is(self, value: Any, shown_value: str) -> None:
        with pytest.raises(DataError, match=f"winner holds {shown_value}, which does not say for certain"):
            read([self.FROM_1 | {"winner": value}])

    def test_a_strength_that_is_never_below_0_may_be_named(self) -> None:
        row = self.FROM_1 | {"preference_strength": 2}
        with pytest.raises(
            DataError, match=r"above 0 for the second, name it \(data\.winner_feature: preference_strength\)"
        ):
            read([row])
        assert texts(read([row], winner_feature="preference_strength")) == [("two", "one")]


def test_a_text_that_is_the_letter_of_the_other_answer_is_refused() -> None:
    row = {"prompt": "Q", "response_a": "b", "response_b": "a"}
    with pytest.raises(DataError, match="winner 'A' is the text or the writer of one answer and the letter of another"):
        read([row | {"winner": "A", "response_b": "A"}])
    with pytest.raises(DataError, match="is the text or the writer of one answer and the letter of another"):
        read([row | {"winner": "a", "response_a": "B"}])
    assert texts(read([row | {"winner": "response_a"}])) == [("b", "a")]
    assert texts(read([row | {"winner": "a", "response_a": "a", "response_b": "b"}])) == [("a", "b")]


def test_a_model_that_wrote_both_answers_names_none() -> None:
    rows = [
        {"prompt": "Q", "response_a": "x", "response_b": "y", "model_a": "gpt", "model_b": b, "winner": "gpt"}
        for b in ("gpt", "llama")
    ]
    dataset = read(rows)
    assert dataset.pairs == [(2, Pair("Q", "x", "y"))]
    assert [str(reason) for _, reason in dataset.unusable] == [
        "winner 'gpt' is who wrote response_a and response_b: it names no one answer"
    ]


def test_notes_and_reasons_call_a_column_by_its_own_name() -> None:
    rows = [{"prompt": "Q", "response_a": "x", "response_b": "y", "gold": gold} for gold in ("A", "tie")]
    dataset = read(rows, winner_feature="gold")
    assert dataset.notes == ["which answer is chosen goes by the column gold"]
    assert [str(reason) for _, reason in dataset.unusable] == ["a tie: gold is 'tie'"]


@pytest.mark.parametrize("empty", ["response_0", "response_1", "response_c"])
def test_an_empty_column_with_a_mark_of_another_kind_shifts_no_number(empty: str) -> None:
    rows = [row | {"chosen_index": 1, empty: None} for row in of("prompt", "response_a", "response_b")]
    rows[0]["chosen_index"] = 0
    assert texts(read(rows)) == [(TRIPLES[0].better, TRIPLES[0].worse), *((t.worse, t.better) for t in TRIPLES[1:])]


def test_a_number_beside_answers_whose_marks_are_of_two_kinds_is_refused() -> None:
    rows = [
        row | {"response_0": f"a third answer, {number}", "chosen_index": number % 2}
        for number, row in enumerate(of("prompt", "response_a", "response_b"))
    ]
    with pytest.raises(DataError, match="chosen_index"):
        read(rows)


def test_an_index_of_more_than_nine_columns_counts_them_as_numbers() -> None:
    columns = [f"response_{number}" for number in range(1, 12)]
    rows = [
        {"prompt": f"Which of them is number {index}?", "chosen_index": index}
        | {column: f"{column} says so at length in row {index}" for column in columns}
        for index in (0, 1, 9, 10)
    ]
    dataset = read(rows, pairs="best_rest")
    winners = dict.fromkeys(chosen.split()[0] for chosen, _ in texts(dataset))
    assert list(winners) == ["response_1", "response_2", "response_10", "response_11"]


def test_a_winner_that_is_nan_is_missing() -> None:
    rows: list[Row] = [
        {"prompt": t.question, "response_0": t.better, "response_1": t.worse, "winner": winner}
        for t, winner in zip(TRIPLES, (0.0, float("nan"), 1.0))
    ]
    dataset = read(rows)
    assert [number for number, _ in dataset.pairs] == [1, 3]
    assert [str(reason) for _, reason in dataset.unusable] == ["winner is missing: no answer is preferred"]
