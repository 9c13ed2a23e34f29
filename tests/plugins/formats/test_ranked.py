"""Scored and ranked answers, in one row or in several."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.worker.data.rows import DataError
from prefd.plugins.types import Pair
from support.dataset_rows import TRIPLES, Row, user
from support.dataset_shapes import SHAPES, rows_of
from support.reading_rows import of, read, texts


class TestRanked:
    ROW: ClassVar[Row] = {
        "prompt": "Which?",
        "completions": [
            {"response": text, "score": score}
            for text, score in (("b", 2), ("a", 9), ("c", 2.0), ("d", None), ("e", 5))
        ],
    }

    @pytest.mark.parametrize(
        ("pairs", "expected"),
        [
            ("best_worst", [("a", "b", 7.0)]),
            ("best_rest", [("a", "b", 7.0), ("a", "c", 7.0), ("a", "e", 4.0)]),
            ("all", [("a", "b", 7.0), ("e", "b", 3.0), ("a", "c", 7.0), ("a", "e", 4.0), ("e", "c", 3.0)]),
        ],
    )
    def test_pairs_by_the_setting(self, pairs: Any, expected: list[tuple[str, str, float]]) -> None:
        dataset = read([self.ROW], pairs=pairs)
        assert [(pair.chosen, pair.rejected, pair.margin) for _, pair in dataset.pairs] == expected
        assert {number for number, _ in dataset.pairs} == {1}

    def test_where_a_row_has_one_pair_the_setting_is_said_to_have_no_effect(self) -> None:
        dataset = read(of("prompt", "chosen", "rejected"), pairs="all")
        assert dataset.notes == ["data.pairs: all has no effect: format explicit has one pair a row"]

    def test_answers_in_no_pair_are_counted(self) -> None:
        assert "3 scored answers are in no pair (data.pairs: best_rest or all takes more)" in read([self.ROW]).notes

    def test_equal_scores_are_a_tie(self) -> None:
        tied = {"prompt": "Which?", "answers": ["a", "b"], "scores": [1, 1]}
        dataset = read([tied, tied | {"scores": [2, 1]}])
        assert [(number, str(reason)) for number, reason in dataset.unusable] == [
            (1, "a tie: all answers have the same score")
        ]

    def test_scores_that_disagree_are_refused(self) -> None:
        row = {"prompt": "Which?", "answers": ["a", "b"], "scores": [1, 2], "ratings": [2, 1]}
        with pytest.raises(
            DataError, match=r"scores and ratings disagree .* \(data\.score_feature: scores or ratings\)"
        ):
            read([row])
        assert read([row], score_feature="ratings").pairs[0][1] == Pair("Which?", "a", "b")

    def test_a_key_of_the_answers_where_the_spec_names_it(self) -> None:
        rows = rows_of(SHAPES["UltraFeedback"])
        for row in rows:
            for item, score in zip(row["completions"], (1.0, 2.0, 3.0)):
                item["fine-grained_score"] = score
        assert texts(read(rows, score_feature="fine-grained_score"))[0] == ("Nobody knows.", TRIPLES[0].better)

    def test_numbers_that_may_be_an_order_are_never_suggested(self) -> None:
        row = {"prompt": "Which?", "responses": ["a", "b"], "ranking": [1, 2]}
        for spec in ({}, {"score_feature": "ranking"}):
            with pytest.raises(
                DataError, match="ranking may be places or an order; where 1 is the best answer's, call it 'ranks'"
            ):
                read([row], **spec)
        assert read([row | {"ranks": row.pop("ranking")}]).pairs[0][1] == Pair("Which?", "a", "b")

    def test_scores_may_be_named_with_the_mark_inside(self) -> None:
        rows = of("prompt", "response_a", "response_b", response_a_score=1, response_b_score=4)
        assert texts(read(rows))[0] == (TRIPLES[0].worse, TRIPLES[0].better)

    def test_what_is_said_of_each_answer_and_not_read_is_listed(self) -> None:
        (note,) = [note for note in read(rows_of(SHAPES["UltraFeedback"])).notes if "not read" in note]
        assert (
            note
            == "of completions, not read: annotations, critique, custom_system_prompt, fine-grained_score, model, principle"
        )


class TestGrouped:
    ROWS: ClassVar[list[Row]] = [
        {"prompt": "P", "response": "worse", "helpfulness": 1, "verbosity": 3},
        {"prompt": "Q", "response": "only", "helpfulness": 1, "verbosity": 3},
        {"prompt": "P", "response": "best", "helpfulness": 4, "verbosity": 1},
        {"prompt": "R", "response": "x", "helpfulness": 2, "verbosity": 1},
        {"prompt": "R", "response": "y", "helpfulness": 2, "verbosity": 1},
        {"prompt": "P", "response": "middle", "helpfulness": 2, "verbosity": 1},
    ]

    def test_the_answers_to_one_prompt_are_brought_together(self) -> None:
        dataset = read(self.ROWS)
        assert dataset.pairs == [(3, Pair("P", "best", "worse"))]
        assert dataset.pairs[0][1].margin == 3.0
        assert sorted((number, str(reason)) for number, reason in dataset.unusable) == [
            (2, "no other answer to its prompt"),
            (4, "a tie: all answers have the same score"),
            (5, "a tie: all answers have the same score"),
        ]
        assert dataset.unread == ["verbosity"]
        assert dataset.notes == [
            "answers to one prompt are compared by helpfulness (1 prompt)",
            "1 scored answer is in no pair (data.pairs: best_rest or all takes more)",
        ]

    def test_each_pair_has_the_row_of_its_chosen_answer(self) -> None:
        dataset = read(self.ROWS, pairs="all")
        assert [(number, pair.chosen, pair.rejected) for number, pair in dataset.pairs] == [
            (3, "best", "worse"),
            (3, "best", "middle"),
            (6, "middle", "worse"),
        ]

    def test_another_score_where_the_spec_names_it(self) -> None:
        assert [number for number, _ in read(self.ROWS, score_feature="verbosity").pairs] == [1]

    @given(st.permutations(range(9)))
    def test_the_order_of_rows_changes_no_pair(self, order: list[int]) -> None:
        rows = [{"prompt": f"P{n % 3}", "response": f"answer {n}", "score": n} for n in range(9)]
        pairs = {(pair.prompt, pair.chosen, pair.rejected) for _, pair in read([rows[n] for n in order]).pairs}
        assert pairs == {(f"P{n}", f"answer {n + 6}", f"answer {n}") for n in range(3)}

    def test_ranks_are_better_the_lower_they_are(self) -> None:
        dataset = read([{"prompt": "P", "response": text, "rank": rank} for text, rank in (("b", 2), ("a", 1))])
        assert dataset.pairs == [(2, Pair("P", "a", "b"))]
        assert dataset.pairs[0][1].margin is None

    def test_another_system_turn_is_another_prompt(self) -> None:
        rows = [row | {"system": "s" if place == 2 else "t"} for place, row in enumerate(self.ROWS)]
        assert read(rows).pairs == [
            (6, Pair([{"role": "system", "content": "t"}, user("P")], "middle", "worse")),
        ]


class TestLowIsBetter:
    """A number that is better the lower it is makes no pair the wrong way round, also where the spec names it."""

    @pytest.mark.parametrize(
        "row",
        [
            {"response_a": "a", "response_b": "b", "toxicity_score_a": 9, "toxicity_score_b": 1},
            {"response_a": "a", "response_b": "b", "error_rating_a": 9, "error_rating_b": 1},
            {"responses": ["a", "b"], "refusal_scores": [9, 1]},
            {"responses": ["a", "b"], "lower_is_better_score": [9, 1]},
            {"responses": ["a", "b"], "rejected_scores": [9, 1]},
            {"responses": ["a", "b"], "perplexity": [9, 1]},
            {"completions": [{"text": "a", "harm_score": 9}, {"text": "b", "harm_score": 1}]},
        ],
    )
    def test_it_is_refused(self, row: Row) -> None:
        with pytest.raises(DataError, match=r"by its name, is better the lower it is.* write it negated"):
            read([{"prompt": "Q", **row}])

    @pytest.mark.parametrize("name", ["loss", "toxicity", "responses.hallucination_score"])
    def test_it_is_refused_also_where_named(self, name: str) -> None:
        with pytest.raises(DataError, match=f"^data.score_feature: ROWS: {name}, by its name, is better the lower"):
            read([{"prompt": "Q", "responses": ["a", "b"], "loss": [9, 1]}], score_feature=name)

    def test_it_is_no_advice_beside_another_number(self) -> None:
        row = {"prompt": "Q", "responses": ["a", "b"], "loss": [9, 1], "grade": [1, 9], "tokens": [3, 4]}
        with pytest.raises(DataError, match=r"\(data\.score_feature: grade\) where it is better the higher it is"):
            read([row])
        assert read([row], score_feature="grade").pairs == [(1, Pair("Q", "b", "a"))]

    @pytest.mark.parametrize("name", ["foo_score", "style_rating"])
    def test_a_word_that_nobody_knows_is_asked_for(self, name: str) -> None:
        row = {"prompt": "Q", "response_a": "a", "response_b": "b", f"{name}_a": 9, f"{name}_b": 1}
        with pytest.raises(DataError, match=rf"name it \(data\.score_feature: {name}\)"):
            read([row])
        assert read([row], score_feature=name).pairs == [(1, Pair("Q", "a", "b"))]

    @pytest.mark.parametrize("name", ["gpt4_score", "mean_reward", "rm_score", "response_score", "overall_rating"])
    def test_a_word_that_leaves_higher_better_is_read(self, name: str) -> None:
        row = {"prompt": "Q", "response_a": "a", "response_b": "b", f"{name}_a": 9, f"{name}_b": 1}
        assert read([row]).pairs == [(1, Pair("Q", "a", "b"))]


def test_a_list_of_scores_that_is_too_short_loses_its_row_alone() -> None:
    rows = [{"prompt": "Q", "responses": ["a", "b", "c"], "scores": scores} for scores in ([1, 2], [1, 2, 3])]
    dataset = read(rows)
    assert dataset.pairs == [(2, Pair("Q", "c", "a"))]
    assert [(number, str(reason)) for number, reason in dataset.unusable] == [(1, "scores has 2 numbers for 3 answers")]


def test_a_score_that_no_answer_has_is_named_with_those_there_are() -> None:
    row = {"prompt": "Q", "completions": [{"text": "a", "score": 1, "grade": 2}, {"text": "b", "score": 2, "grade": 1}]}
    assert [str(reason) for _, reason in read([row], score_feature="scor").unusable] == [
        "no answer has a number in 'scor'; there are: grade, score"
    ]


def test_notes_call_a_named_score_by_its_own_name() -> None:
    rows: list[Row] = [{"prompt": "Q", "responses": ["a", "b"], "grade": [1, 2]}]
    assert read(rows, score_feature="grade").notes == ["answers are compared by grade (1 row)"]
    rows = [{"prompt": "Q", "response": text, "grade": grade} for text, grade in (("a", 1), ("b", 2))]
    assert read(rows, score_feature="grade").notes == ["answers to one prompt are compared by grade (1 prompt)"]


def test_equal_answers_of_a_group_are_found_where_they_stand() -> None:
    rows = [
        {"prompt": "Q", "response": text, "score": score} for text, score in (("a", 1), ("b", 2), ("c", 4), ("c", 3))
    ]
    dataset = read(rows, pairs="all")
    assert [(number, str(reason)) for number, reason in dataset.unusable] == [(3, "identical sides")]


@pytest.mark.parametrize("name", ["grade", "my_points"])
def test_numbered_columns_of_any_name_are_scores_where_named(name: str) -> None:
    row: Row = {"prompt": "Q", "response_a": "x", "response_b": "y", f"{name}_a": 1, f"{name}_b": 3}
    dataset = read([row], score_feature=name)
    assert dataset.pairs == [(1, Pair("Q", "y", "x"))]
    assert dataset.pairs[0][1].margin == 2
    assert (dataset.notes, dataset.unread) == ([f"answers are compared by {name} (1 row)"], [])


def test_a_rank_below_0_may_be_turned_already() -> None:
    rows = [
        {"prompt": t.question, "answers": [{"answer": t.better, "rank": -1}, {"answer": t.worse, "rank": -2}]}
        for t in TRIPLES
    ]
    with pytest.raises(
        DataError, match="rank is below 0 and no place: where it is better the higher it is, call it 'score'"
    ):
        read(rows)
