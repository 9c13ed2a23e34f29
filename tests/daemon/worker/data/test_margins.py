"""Scores beside the sides: what is counted, and what data.min_margin leaves out."""

from __future__ import annotations

from typing import ClassVar

import pytest

from prefd.daemon.worker.data.rows import DataError
from support.dataset_rows import Row
from support.reading_rows import of, read


class TestMargins:
    ROWS: ClassVar[list[Row]] = [
        {"prompt": "a", "chosen": "x", "rejected": "y", "score_chosen": 2.0, "score_rejected": 9.0},
        {"prompt": "b", "chosen": "x", "rejected": "y", "score_chosen": 5.0, "score_rejected": 5.0},
        {"prompt": "c", "chosen": "x", "rejected": "y", "score_chosen": 6.0, "score_rejected": 5.0},
        {"prompt": "d", "chosen": "x", "rejected": "y", "score_chosen": None, "score_rejected": 5.0},
    ]

    def test_inverted_and_equal_scores_are_counted_and_named(self) -> None:
        dataset = read(self.ROWS)
        assert (len(dataset.pairs), dataset.unread) == (4, [])
        assert dataset.notes == [
            "in 1 pair chosen scores lower than rejected (row 1); data.min_margin leaves such pairs out",
            "in 1 pair both sides have the same score (row 2); a data.min_margin above 0 leaves such pairs out",
        ]

    @pytest.mark.parametrize(("least", "rows_left"), [(0.0, [2, 3]), (0.5, [3]), (1.0, [3]), (1.5, [])])
    def test_pairs_below_the_margin_are_left_out(self, least: float, rows_left: list[int]) -> None:
        dataset = read(self.ROWS, min_margin=least)
        assert [number for number, _ in dataset.pairs] == rows_left
        reasons = {number: str(reason) for number, reason in dataset.unusable}
        assert reasons[1] == f"a margin below data.min_margin {least:g}"
        assert reasons[4] == "no scores, which data.min_margin needs"

    @pytest.mark.parametrize(
        ("chosen", "rejected"),
        [
            ("chosen_score", "rejected_score"),
            ("chosen-rating", "rejected-rating"),
            ("rating_chosen", "rating_rejected"),
        ],
    )
    def test_the_scores_have_other_names_too(self, chosen: str, rejected: str) -> None:
        dataset = read(of("prompt", "chosen", "rejected", **{chosen: 3, rejected: "1.5"}))
        assert [pair.margin for _, pair in dataset.pairs] == [1.5] * 3
        assert dataset.unread == []

    def test_without_any_scores_the_setting_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"data\.min_margin: ROWS has no scores of both sides"):
            read(of("prompt", "chosen", "rejected"), min_margin=1.0)

    def test_kinds_of_scores_that_disagree_are_told_and_nothing_goes_by_one_of_them(self) -> None:
        scores = {"score_chosen": 9, "score_rejected": 5, "rating_chosen": 1, "rating_rejected": 5}
        message = (
            "rating_chosen and rating_rejected disagree with score_chosen and score_rejected on which side is better"
        )
        dataset = read(of("prompt", "chosen", "rejected", **scores))
        assert (len(dataset.pairs), dataset.unread) == (3, [])
        assert dataset.notes[0] == f"{message} (rows 1, 2, 3)"
        with pytest.raises(DataError) as caught:
            read(of("prompt", "chosen", "rejected", **scores), min_margin=1.0)
        assert str(caught.value) == (
            f"data.min_margin: ROWS: {message} (rows 1, 2, 3); leave out those not to go by (data.ignore_columns: "
            "[rating_chosen, rating_rejected] or [score_chosen, score_rejected])"
        )
        left = read(
            of("prompt", "chosen", "rejected", **scores),
            min_margin=1.0,
            ignore_columns=["rating_chosen", "rating_rejected"],
        )
        assert [pair.margin for _, pair in left.pairs] == [4.0] * 3

    def test_kinds_of_scores_that_agree_are_both_read(self) -> None:
        scores = {"score_chosen": 9, "score_rejected": 5, "rating_chosen": 2, "rating_rejected": 2}
        dataset = read(of("prompt", "chosen", "rejected", **scores), min_margin=0.0)
        assert (len(dataset.pairs), dataset.unread) == (3, [])


class TestMarks:
    """What says of a pair, or of its sides, that the rejected answer is the better one is told of."""

    END = "by which the rejected answer is the better one (rows 1, 2, 3)"

    @pytest.mark.parametrize(
        ("more", "finding"),
        [
            ({"margin": -0.5}, "margin is below 0"),
            ({"score_diff": "-1"}, "score_diff is below 0"),
            ({"chosen_correct": False, "rejected_correct": True}, "chosen_correct is false and rejected_correct true"),
            (
                {"chosen_is_safe": "False", "rejected_is_safe": "True"},
                "chosen_is_safe is false and rejected_is_safe true",
            ),
            ({"is_chosen_better": False}, "is_chosen_better is false"),
            ({"chosen_is_preferred": "no"}, "chosen_is_preferred is false"),
        ],
    )
    def test_it_is_told_of(self, more: Row, finding: str) -> None:
        dataset = read(of("prompt", "chosen", "rejected", **more))
        assert len(dataset.pairs) == 3
        assert dataset.notes == [f"in 3 pairs {finding}, {self.END}"]

    @pytest.mark.parametrize(
        "more",
        [
            {"margin": 0.5},
            {"price_difference": -1},
            {"chosen_correct": True, "rejected_correct": False},
            {"chosen_correct": False, "rejected_correct": False},
            {"chosen_toxic": False, "rejected_toxic": True},
            {"is_chosen_better": True},
            {"chosen_is_long": False},
            {"is_chosen": False},
        ],
    )
    def test_what_agrees_or_says_something_else_needs_no_word(self, more: Row) -> None:
        assert read(of("prompt", "chosen", "rejected", **more)).notes == []
