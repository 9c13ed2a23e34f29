"""Answers and a column that says which won: names, letters, numbers, strengths, ties."""

from __future__ import annotations

from typing import Any

import pytest
from dataset_rows import SHAPES, TRIPLES, answer, chat, rows_of, user
from reading_rows import of, read, texts

from prefd.daemon.worker.rows import DataError
from prefd.plugins.types import Pair


class TestWinner:
    ROWS = staticmethod(
        lambda says: [row | {"winner": value} for row, value in zip(of("prompt", "response_a", "response_b"), says)]
    )

    def test_ties_are_no_pair_and_are_named(self) -> None:
        made = read(self.ROWS(["response_a", "tie (bothbad)", "tie"]))
        assert texts(made) == [(TRIPLES[0].better, TRIPLES[0].worse)]
        assert [(number, str(reason)) for number, reason in made.unusable] == [
            (2, "a tie: winner is 'tie (bothbad)'"),
            (3, "a tie: winner is 'tie'"),
        ]

    def test_a_strength_of_0_is_a_tie(self) -> None:
        rows = [
            row | {"overall_preference": value}
            for row, value in zip(of("prompt", "response1", "response2"), (-3, 0, 1))
        ]
        made = read(rows)
        assert [(number, pair.margin) for number, pair in made.pairs] == [(1, 3.0), (3, 1.0)]
        assert texts(made)[1] == (TRIPLES[2].worse, TRIPLES[2].better)
        assert [(number, str(reason)) for number, reason in made.unusable] == [(2, "a tie: overall_preference is 0")]

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
        made = read(self.ROWS([first, second, tie.removeprefix("[[C]] ")]))
        assert texts(made) == [(TRIPLES[0].better, TRIPLES[0].worse), (TRIPLES[1].worse, TRIPLES[1].better)]
        assert [number for number, reason in made.unusable if str(reason).startswith("a tie")] == [3]

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
        made = read(self.ROWS(["response_a", "response_a", "response_c"]))
        assert [str(reason) for _, reason in made.unusable] == [
            "winner 'response_c' is none of response_a and response_b"
        ]

    def test_the_safer_answer_where_the_spec_asks_for_it(self) -> None:
        rows = rows_of(SHAPES["PKU-SafeRLHF"])
        made = read(rows, winner_feature="safer_response_id")
        assert texts(made)[1] == (TRIPLES[1].worse, TRIPLES[1].better)
        assert (
            "better_response_id says otherwise in 1 of 3 rows (data.winner_feature: better_response_id would go by it)"
            in made.notes
        )

    def test_a_column_of_any_name_where_the_spec_names_it(self) -> None:
        rows = [row | {"verdict": value} for row, value in zip(of("prompt", "response_a", "response_b"), "ABA")]
        made = read(rows, winner_feature="verdict")
        assert texts(made)[1] == (TRIPLES[1].worse, TRIPLES[1].better)
        assert made.unread == []

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
    made = read(rows)
    assert texts(made) == [(t.better, t.worse) for t in TRIPLES]
    assert "in 1 pair chosen scores lower than rejected (row 2); data.min_margin leaves such pairs out" in made.notes


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


@pytest.mark.parametrize("column", ["loser", "worse_response_id", "rejected", "losing_side", "worst"])
def test_a_column_of_the_losing_side_is_no_winner(column: str) -> None:
    rows = of("prompt", "response_a", "response_b", **{column: "A"})
    with pytest.raises(
        DataError, match=f"data.winner_feature: ROWS: '{column}', by its name, says which answer is the"
    ):
        read(rows, winner_feature=column)
