"""Much-used datasets, by the columns they have on the hub: each row gives the pair that is meant, or is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, ClassVar

import mlx_lm
import numpy as np
import pytest
from conftest import ROOT
from dataset_rows import SHAPES, TRIPLES, Row, Shape, Triple, answer, chat, rows_of, user
from hypothesis import given, settings
from hypothesis import strategies as st
from jobs_on_disk import make_job, run_precompute

from prefd.cache.store import ReferenceCache
from prefd.daemon.notebook import ReferenceLogprobs
from prefd.daemon.spec import DataSpec
from prefd.daemon.worker.data import load_pairs
from prefd.daemon.worker.dataset import Dataset
from prefd.daemon.worker.reading import read_dataset
from prefd.daemon.worker.rows import DataError
from prefd.plugins import formats
from prefd.plugins.formats.prompt import answer_text
from prefd.plugins.types import Pair, RowFormat

SHARED = ROOT.parent / "shared" / "datasets" / "shapes.jsonl"
FORMATS: dict[str, RowFormat] = {}
formats.register_formats(FORMATS.__setitem__)


def read(rows: list[Row], **spec: Any) -> Dataset:
    return read_dataset(rows, DataSpec(path="x", **spec), FORMATS, "ROWS", "data.path")


def texts(made: Dataset) -> list[tuple[str, str]]:
    return [(answer_text(pair.chosen).strip(), answer_text(pair.rejected).strip()) for _, pair in made.pairs]


def as_messages(pair: Pair) -> list[Any]:
    return [user(pair.prompt)] if isinstance(pair.prompt, str) else list(pair.prompt)


def shared_shapes() -> list[dict[str, Any]]:
    return [json.loads(line) for line in SHARED.read_text().splitlines()] if SHARED.is_file() else []


@pytest.mark.skipif(not SHARED.is_file(), reason="the shared list of shapes is not here")
@pytest.mark.parametrize("shape", shared_shapes(), ids=lambda shape: shape["name"])
def test_every_shape_of_the_shared_list_is_read_as_it_expects(shape: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in shape["rows"]))
    if isinstance(shape["expect"], str):
        says = {"unpaired": "unpaired", "refused": "prefd trains on text"}[shape["expect"]]
        with pytest.raises(DataError, match=says):
            load_pairs(DataSpec(path=str(path)), FORMATS)
        return
    found = load_pairs(DataSpec(path=str(path)), FORMATS)
    assert [number for number, _ in found.pairs] == [1, 2, 3]
    for (_, pair), expected in zip(found.pairs, shape["expect"]):
        assert (answer_text(pair.chosen), answer_text(pair.rejected)) == (expected["chosen"], expected["rejected"])
        if "prompt" in expected:
            assert as_messages(pair) == expected["prompt"]
        else:
            assert expected["prompt_contains"] in str(pair.prompt)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_read_to_its_pairs(name: str) -> None:
    made = read(rows_of(SHAPES[name]))
    assert made.unusable == []
    assert [number for number, _ in made.pairs] == [1, 2, 3]
    assert texts(made) == [(triple.better, triple.worse) for triple in TRIPLES]
    assert [as_messages(pair) for _, pair in made.pairs] == [SHAPES[name].prompt(triple) for triple in TRIPLES]


@pytest.mark.parametrize("name", SHAPES)
def test_a_dataset_of_one_row_is_read_to_its_pair_or_refused(name: str) -> None:
    for swapped in (False, True):
        try:
            made = read([SHAPES[name].row(TRIPLES[0], swapped)])
        except DataError:
            continue  # of one number it may not be certain what it counts from
        assert texts(made) == [(TRIPLES[0].better, TRIPLES[0].worse)]


PROMPT_NAMES = ["prompt", "question", "query", "instruction", "context", "post", "Prompt", "user_prompt", "history"]
SIDE_NAMES = [
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("response_chosen", "response_rejected"),
    ("preferred", "dispreferred"),
    ("preferred_output", "non_preferred_output"),
    ("accepted", "rejected"),
    ("winning_response", "losing_response"),
    ("response", "rejected_response"),
    ("answer", "rejected"),
    ("response_j", "response_k"),
]
ANSWER_BASES = ["response", "answer", "output", "completion"]
VERDICTS = [
    "winner",
    "preferred",
    "choice",
    "label",
    "labels",
    "better_response_id",
    "overall_preference",
    "preference",
]
EXTRAS = [
    *(
        "id",
        "score",
        "source",
        "notes",
        "task",
        "title",
        "category",
        "label",
        "labels",
        "winner",
        "choice",
        "rank",
        "model",
    ),
    *(
        "prompt",
        "question",
        "query",
        "input",
        "context",
        "messages",
        "conversations",
        "post",
        "text",
        "system_prompt_id",
        "persona",
        "passage",
    ),
    *("response", "answer", "completion", "response_0", "response_2", "answer_a", "answer_b", "preferred", "rejected"),
    *(
        "chosen",
        "rejected_response",
        "score_chosen",
        "score_0",
        "scores",
        "ranks",
        "rating",
        "responses",
        "images",
        "split",
    ),
]
VALUES = st.one_of(
    st.none(),
    st.integers(-3, 9),
    st.floats(0, 9),
    st.booleans(),
    st.sampled_from(["", "a", "A", "response_a", "tie", "What is the answer to this one, please?", "He did not say."]),
    st.just([]),
    st.just([1.0, 2.0]),
    st.just(["One of them.", "Another of them."]),
    st.just(chat("Who are you?", "I am the butler.")),
    st.just([{"from": "human", "value": "Who are you?"}]),
)


def renamed(rows: list[Row], names: dict[str, str]) -> list[Row]:
    if any(new in rows[0] and new not in names for new in names.values()):
        return rows
    return [{names.get(column, column): value for column, value in row.items()} for row in rows]


@st.composite
def disguised(draw: st.DrawFn) -> tuple[Shape, list[Row]]:
    """A known shape's rows with columns renamed within the known names, others beside them, in any order."""
    shape = SHAPES[draw(st.sampled_from(sorted(SHAPES)))]
    rows = rows_of(shape)
    columns = set(rows[0])
    for name in columns & {"prompt", "question", "query", "instruction"}:
        if isinstance(rows[0][name], str) and "input" not in columns:
            rows = renamed(rows, {name: draw(st.sampled_from(PROMPT_NAMES))})
    if {"chosen", "rejected"} <= set(rows[0]):
        rows = renamed(rows, dict(zip(("chosen", "rejected"), draw(st.sampled_from(SIDE_NAMES)))))
    for old in ANSWER_BASES:
        for mark in ("_0", "_1", "_2", "_a", "_b"):
            if f"{old}{mark}" in rows[0]:
                new = draw(st.shared(st.sampled_from(ANSWER_BASES), key="base"))
                rows = renamed(rows, {f"{old}{mark}": f"{new}{mark}"})
    for old in ("winner", "better_response_id", "overall_preference", "labels", "preference", "preferred", "choice"):
        if old in rows[0]:
            rows = renamed(rows, {old: draw(st.sampled_from(VERDICTS))})
            break
    for extra in draw(st.lists(st.sampled_from(EXTRAS), max_size=2, unique=True)):
        if extra == "input" and "instruction" in rows[0]:
            continue  # Alpaca's: another prompt is meant
        values = draw(st.lists(VALUES, min_size=3, max_size=3))
        rows = [row if extra in row else row | {extra: value} for row, value in zip(rows, values)]
    order = draw(st.integers(0, 2**16))
    return shape, [dict(random.Random(order).sample(sorted(row.items()), len(row))) for row in rows]


@settings(deadline=None, max_examples=1500)
@given(disguised())
def test_shuffled_renamed_and_extra_columns_give_the_same_pairs_or_none(case: tuple[Shape, list[Row]]) -> None:
    shape, rows = case
    try:
        made = read(rows)
    except DataError:
        return
    for number, pair in made.pairs:
        triple = TRIPLES[number - 1]
        assert (answer_text(pair.chosen).strip(), answer_text(pair.rejected).strip()) == (triple.better, triple.worse)
        assert as_messages(pair) == shape.prompt(triple)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(SHAPES)), st.randoms(use_true_random=False))
def test_the_order_of_columns_changes_nothing(name: str, order: random.Random) -> None:
    rows = [dict(order.sample(sorted(row.items()), len(row))) for row in rows_of(SHAPES[name])]
    assert read(rows).pairs == read(rows_of(SHAPES[name])).pairs


def of(*columns: str, **more: Any) -> list[Row]:
    """A row for each triple, with its question, better and worse answer under three names."""
    return [dict(zip(columns, triple)) | more for triple in TRIPLES]


class TestRefused:
    """What is not certain, with the setting to write."""

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            (
                [row | {"query": "Something else altogether?"} for row in of("question", "chosen", "rejected")],
                (
                    "the columns 'query' and 'question' may each be the prompt and differ; name the one "
                    "(data.prompt_feature: query or question), or all, to be joined in that order ([query, question]) "
                    "(rows 1, 2, 3)"
                ),
            ),
            (
                [row | {"question": "Something else altogether?"} for row in of("prompt", "chosen", "rejected")],
                (
                    "the column 'question' looks like a prompt and says something else than what was read; name the prompt's "
                    "column (data.prompt_feature: prompt or question), or leave it out (data.ignore_columns: [question]) (rows 1, 2, 3)"
                ),
            ),
            (
                [row | {"answer": "42"} for row in of("prompt", "chosen", "rejected")],
                (
                    "the column 'answer' looks like an answer and says something else than what was read; name the sides' "
                    "columns (data.chosen_feature: chosen, data.rejected_feature: rejected), or leave it out (data.ignore_columns: [answer]) "
                    "(rows 1, 2, 3)"
                ),
            ),
            (
                of("prompt", "response_a", "response_b"),
                (
                    "has response_a and response_b, and no column is known to say which is preferred; its columns: prompt, "
                    "response_a, response_b. Name the column that says it with data.winner_feature, or the one with each "
                    "answer's score with data.score_feature"
                ),
            ),
            (
                of("prompt", "response_a", "response_b", winner=1),
                (
                    "winner holds 1, which does not say for certain which of response_a and response_b won; write the name of "
                    "the winning column (response_a or response_b) into it (rows 1, 2, 3)"
                ),
            ),
            (
                of("prompt", "response_0", "response_1", winner=1, preferred=0),
                (
                    "the columns 'preferred' and 'winner' may each say which answer won; name the one (data.winner_feature: "
                    "preferred or winner) (rows 1, 2, 3)"
                ),
            ),
            (
                of("title", "chosen", "rejected"),
                (
                    "no column is known to be the prompt, and 'title' may be it; name it (data.prompt_feature: title), or, where "
                    "both sides begin with their prompt, leave it out (data.ignore_columns: [title])"
                ),
            ),
            (
                [{"chosen": triple.better, "rejected": triple.worse} for triple in TRIPLES],
                (
                    "in 2 of 3 rows the sides have no first words in common (rows 1, 3): these are answers without their "
                    "prompts; add a column 'prompt'"
                ),
            ),
            (
                [
                    {
                        "messages": chat(triple.question, "Never mind."),
                        "chosen": triple.better,
                        "rejected": triple.worse,
                    }
                    for triple in TRIPLES
                ],
                (
                    "the column 'messages' ends with an answer that is neither side: it is not the prompt alone; name the "
                    "prompt's column (data.prompt_feature), or leave it out (data.ignore_columns: [messages]) (rows 1, 2, 3)"
                ),
            ),
            (
                [
                    row | {"system": "Be brief.", "system_prompt": "Be long."}
                    for row in of("prompt", "chosen", "rejected")
                ],
                (
                    "the columns 'system' and 'system_prompt' may each be the system turn and differ; name the one "
                    "(data.system_feature: system or system_prompt) (rows 1, 2, 3)"
                ),
            ),
            (
                of("prompt", "chosen", "rejected", persona="You are a pirate."),
                (
                    "the column 'persona' looks like a system turn and says something else than what was read; name the system "
                    "turn's column (data.system_feature: persona), or leave it out (data.ignore_columns: [persona]) (rows 1, 2, 3)"
                ),
            ),
            (
                of("question", "chosen", "rejected", passage="A page about it."),
                (
                    "the columns 'passage' and 'question' may each be the prompt and differ; name the one (data.prompt_feature: "
                    "passage or question), or all, to be joined in that order ([passage, question]) (rows 1, 2, 3)"
                ),
            ),
            (
                [
                    {"prompt": "Another?", "chosen": chat(t.question, t.better), "rejected": chat(t.question, t.worse)}
                    for t in TRIPLES
                ],
                (
                    "the prompt column is not what the conversations begin with; leave it out (data.ignore_columns: [prompt]) "
                    "(rows 1, 2, 3)"
                ),
            ),
            (
                of("prompt", "response_0", "response_1", better_response_id=1, answer="Something of its own."),
                (
                    "the column 'answer' looks like an answer and says something else than what was read; leave it out "
                    "(data.ignore_columns: [answer]) (rows 1, 2, 3)"
                ),
            ),
            (
                of("prompt", "preferred", "rejected", accepted="Another one."),
                (
                    "has preferred and accepted, which may each be the chosen answer; its columns: prompt, preferred, rejected, "
                    "accepted. Name the sides with data.chosen_feature and data.rejected_feature"
                ),
            ),
            (
                of("prompt", "preferred_answer", "other"),
                (
                    "has 'preferred_answer' for the chosen answer and none for the rejected one; its columns: prompt, "
                    "preferred_answer, other. Name it with data.rejected_feature"
                ),
            ),
        ],
    )
    def test_the_message_has_the_setting(self, rows: list[Row], expected: str) -> None:
        with pytest.raises(DataError) as caught:
            read(rows)
        assert str(caught.value).removeprefix("data.path: ROWS").removeprefix(":").strip() == expected

    def test_another_column_may_be_the_prompt_also_where_no_row_is_read(self) -> None:
        with pytest.raises(DataError, match="'title' may be it; name it"):
            read([{"title": f"Title {n}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(3)])
        made = read([{"system": 5, "chosen": f"Q{n} yes", "rejected": f"Q{n} no"} for n in range(3)])
        assert {str(reason) for _, reason in made.unusable} == {"wrong types: system is not the text of a system turn"}

    def test_the_setting_settles_it(self) -> None:
        rows = [row | {"query": "Something else?", "answer": "42"} for row in of("question", "chosen", "rejected")]
        made = read(rows, prompt_feature="question", ignore_columns=["answer"])
        assert made.unread == ["query", "answer"]
        assert made.pairs[0][1] == Pair(TRIPLES[0].question, TRIPLES[0].better, TRIPLES[0].worse)

    @pytest.mark.parametrize("column", ["images", "image", "audio", "videos"])
    def test_what_is_no_text_is_refused(self, column: str) -> None:
        made = read([row | {column: ["a.png"]} for row in of("prompt", "chosen", "rejected")])
        assert made.pairs == []
        assert {str(reason) for _, reason in made.unusable} == {
            f"the column {column!r} is no text: prefd trains on text"
        }

    def test_an_empty_column_of_images_hinders_nothing(self) -> None:
        made = read([row | {"images": []} for row in of("prompt", "chosen", "rejected")])
        assert (len(made.pairs), made.unread) == (3, [])

    def test_a_few_odd_rows_are_left_out_and_named(self) -> None:
        rows = [
            {"prompt": f"What is {i}?", "question": f"What is {i}?", "chosen": "a", "rejected": "b"} for i in range(20)
        ]
        rows[4]["question"] = "What is another?"
        made = read(rows)
        assert [number for number, _ in made.unusable] == [5]
        assert len(made.pairs) == 19


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
        made = read([self.ROW], pairs=pairs)
        assert [(pair.chosen, pair.rejected, pair.margin) for _, pair in made.pairs] == expected
        assert {number for number, _ in made.pairs} == {1}

    def test_where_a_row_has_one_pair_the_setting_is_said_to_have_no_effect(self) -> None:
        made = read(of("prompt", "chosen", "rejected"), pairs="all")
        assert made.notes == ["data.pairs: all has no effect: format explicit has one pair a row"]

    def test_answers_in_no_pair_are_counted(self) -> None:
        assert "3 scored answers are in no pair (data.pairs: best_rest or all takes more)" in read([self.ROW]).notes

    def test_equal_scores_are_a_tie(self) -> None:
        tied = {"prompt": "Which?", "answers": ["a", "b"], "scores": [1, 1]}
        made = read([tied, tied | {"scores": [2, 1]}])
        assert [(number, str(reason)) for number, reason in made.unusable] == [
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
        made = read(self.ROWS)
        assert made.pairs == [(3, Pair("P", "best", "worse"))]
        assert made.pairs[0][1].margin == 3.0
        assert sorted((number, str(reason)) for number, reason in made.unusable) == [
            (2, "no other answer to its prompt"),
            (4, "a tie: all answers have the same score"),
            (5, "a tie: all answers have the same score"),
        ]
        assert made.unread == ["verbosity"]
        assert made.notes == [
            "answers to one prompt are compared by helpfulness (1 prompt)",
            "1 scored answer is in no pair (data.pairs: best_rest or all takes more)",
        ]

    def test_each_pair_has_the_row_of_its_chosen_answer(self) -> None:
        made = read(self.ROWS, pairs="all")
        assert [(number, pair.chosen, pair.rejected) for number, pair in made.pairs] == [
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
        made = read([{"prompt": "P", "response": text, "rank": rank} for text, rank in (("b", 2), ("a", 1))])
        assert made.pairs == [(2, Pair("P", "a", "b"))]
        assert made.pairs[0][1].margin is None

    def test_another_system_turn_is_another_prompt(self) -> None:
        rows = [row | {"system": "s" if place == 2 else "t"} for place, row in enumerate(self.ROWS)]
        assert read(rows).pairs == [
            (6, Pair([{"role": "system", "content": "t"}, user("P")], "middle", "worse")),
        ]


class TestMargins:
    ROWS: ClassVar[list[Row]] = [
        {"prompt": "a", "chosen": "x", "rejected": "y", "score_chosen": 2.0, "score_rejected": 9.0},
        {"prompt": "b", "chosen": "x", "rejected": "y", "score_chosen": 5.0, "score_rejected": 5.0},
        {"prompt": "c", "chosen": "x", "rejected": "y", "score_chosen": 6.0, "score_rejected": 5.0},
        {"prompt": "d", "chosen": "x", "rejected": "y", "score_chosen": None, "score_rejected": 5.0},
    ]

    def test_inverted_and_equal_scores_are_counted_and_named(self) -> None:
        made = read(self.ROWS)
        assert (len(made.pairs), made.unread) == (4, [])
        assert made.notes == [
            "in 1 pair chosen scores lower than rejected (row 1); data.min_margin leaves such pairs out",
            "in 1 pair both sides have the same score (row 2); data.min_margin leaves such pairs out",
        ]

    @pytest.mark.parametrize(("least", "kept"), [(0.0, [2, 3]), (0.5, [3]), (1.0, [3]), (1.5, [])])
    def test_pairs_below_the_margin_are_left_out(self, least: float, kept: list[int]) -> None:
        made = read(self.ROWS, min_margin=least)
        assert [number for number, _ in made.pairs] == kept
        reasons = {number: str(reason) for number, reason in made.unusable}
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
        made = read(of("prompt", "chosen", "rejected", **{chosen: 3, rejected: "1.5"}))
        assert [pair.margin for _, pair in made.pairs] == [1.5] * 3
        assert made.unread == []

    def test_without_any_scores_the_setting_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"data\.min_margin: ROWS has no scores of both sides"):
            read(of("prompt", "chosen", "rejected"), min_margin=1.0)


class TestPrompt:
    def test_several_columns_are_joined_where_the_spec_names_them(self) -> None:
        rows = of("question", "chosen", "rejected", context="A page about it.", id=1)
        made = read(rows, prompt_feature=["context", "question"])
        assert made.pairs[0][1].prompt == f"A page about it.\n{TRIPLES[0].question}"
        assert made.unread == ["id"]
        with pytest.raises(
            DataError, match=r"data\.prompt_feature: ROWS has no column 'contxt'; .* Did you mean 'context'"
        ):
            read(rows, prompt_feature=["contxt", "question"])
        assert [
            str(reason)
            for _, reason in read([row | {"context": 5} for row in rows], prompt_feature=["context"]).unusable
        ] == ["wrong types: context is a number, and only texts can be joined"] * 3

    def test_a_system_column_is_a_system_turn_where_it_says_something(self) -> None:
        rows = [
            row | {"system": system} for row, system in zip(of("prompt", "chosen", "rejected"), ("Be kind.", "", None))
        ]
        made = read(rows)
        assert [pair.prompt for _, pair in made.pairs] == [
            [{"role": "system", "content": "Be kind."}, user(TRIPLES[0].question)],
            TRIPLES[1].question,
            TRIPLES[2].question,
        ]

    def test_a_system_column_of_any_name_where_the_spec_names_it(self) -> None:
        made = read(of("prompt", "chosen", "rejected", persona="Be kind."), system_feature="persona")
        assert as_messages(made.pairs[0][1])[0] == {"role": "system", "content": "Be kind."}
        assert made.unread == []

    def test_a_system_turn_that_is_there_is_not_there_twice(self) -> None:
        turn = {"role": "system", "content": "Be kind."}
        row = {"system": " Be kind.", "chosen": [turn, *chat("Q", "a")], "rejected": [turn, *chat("Q", "b")]}
        assert read([row]).pairs == [(1, Pair([turn, user("Q")], [answer("a")], [answer("b")]))]
        with pytest.raises(DataError, match="the column 'system' is not the system turn of the messages"):
            read([row | {"system": "Be rude."}])

    def test_a_system_column_stands_before_a_conversation_without_one(self) -> None:
        row = {"system": "Be kind.", "chosen": chat("Q", "a"), "rejected": chat("Q", "b")}
        assert as_messages(read([row]).pairs[0][1]) == [{"role": "system", "content": "Be kind."}, user("Q")]

    def test_a_history_of_messages_comes_before_the_prompt(self) -> None:
        row = {"history": chat("Before?", "Yes."), "prompt": "Now?", "chosen": "a", "rejected": "b"}
        assert as_messages(read([row]).pairs[0][1]) == [*chat("Before?", "Yes."), user("Now?")]

    def test_a_history_that_is_no_turns_is_refused(self) -> None:
        rows = of("prompt", "chosen", "rejected", history=["Before?", "Yes."])
        with pytest.raises(DataError, match="the column 'history' is neither chat messages nor pairs of"):
            read(rows)
        assert read(rows, ignore_columns=["history"]).pairs[0][1].prompt == TRIPLES[0].question

    def test_a_conversation_that_ends_with_the_chosen_answer_is_the_prompt_without_it(self) -> None:
        row = {"messages": chat("Q", "a"), "chosen": "a", "rejected": "b"}
        assert read([row]).pairs == [(1, Pair([user("Q")], "a", "b"))]

    def test_how_many_words_became_the_prompt_is_said(self) -> None:
        rows = [{"chosen": f"Say {'a ' * n}yes", "rejected": f"Say {'a ' * n}no"} for n in (1, 2, 4)]
        assert read(rows).notes == [
            "no column is the prompt: it is the words that both sides begin with, 2 to 5 of them (median 3)"
        ]


@pytest.mark.parametrize("role", ["Human", "gpt", "bot"])
def test_a_role_that_nobody_knows_is_named(role: str) -> None:
    made = read([{"prompt": "Q", "chosen": [{"role": role, "content": "a"}], "rejected": [answer("b")]}])
    assert [str(reason) for _, reason in made.unusable] == [
        f"role {role!r} is not one of system, user, assistant, tool: rename it"
    ]


def test_a_conversation_a_row_has_nothing_to_compare() -> None:
    with pytest.raises(DataError, match=r"is unpaired: it has one conversation a row \('messages'\) and no second"):
        read([{"messages": chat("Q", "a"), "id": 1}])


def test_a_list_of_answers_without_scores_is_no_ranking() -> None:
    rows: list[Row] = [{"instruction": t.question, "input": "", "output": [t.better, t.worse]} for t in TRIPLES]
    with pytest.raises(
        DataError, match=r"has lists of answers \('output'\), and nothing says which of them is the better"
    ):
        read(rows)
    rows = [{"prompt": t.question, "responses": [t.better, t.worse]} for t in TRIPLES]
    with pytest.raises(
        DataError, match="has the answers of responses, and no column is known to say which is preferred"
    ):
        read(rows)


def test_the_tools_of_openais_files_reach_the_pair() -> None:
    tools = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]
    call = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "now"}}]}
    row = {
        "input": {"messages": [user("What time is it?")], "tools": tools, "parallel_tool_calls": True},
        "preferred_output": [call],
        "non_preferred_output": [answer("I do not know.")],
    }
    made = read([row])
    assert made.pairs == [(1, Pair([user("What time is it?")], [call], [answer("I do not know.")], tools))]
    strange = read([row | {"input": {**row["input"], "temperature": 1.0}}])
    assert [str(reason) for _, reason in strange.unusable] == ["input has temperature beside messages and tools"]


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


def test_unpaired_rows_say_so() -> None:
    made = read([{"prompt": triple.question, "completion": triple.better, "label": True} for triple in TRIPLES])
    assert made.pairs == []
    assert {str(reason) for _, reason in made.unusable} == {
        (
            "unpaired: one answer (completion) and a label, and no second answer to its prompt; prefd's losses compare two, "
            "a chosen and a rejected one"
        )
    }


def test_a_triple_has_what_the_shapes_are_made_of() -> None:
    assert all(isinstance(triple, Triple) and len(set(triple)) == 3 for triple in TRIPLES)


def test_a_file_of_columns_is_no_conversation() -> None:
    row = {"prompt": ["Say red.", "Say blue."], "chosen": ["red", "blue"], "rejected": ["no", "never"]}
    made = read([row])
    assert made.pairs == []
    assert [str(reason) for _, reason in made.unusable] == ["wrong types: chosen is a list, not text or chat messages"]


CASES = ROOT.parent / "shared" / "faults" / "cases"
FAULTS: dict[str, list[tuple[Any, Any, Any]]] = {
    "01-orca-question": [
        (
            [{"role": "system", "content": "You are terse."}, user("Sum 2 and 2?")],
            "The answer is 4.",
            "The answer is 5.",
        ),
        ([{"role": "system", "content": "You are terse."}, user("Is water wet?")], "Yes, it is.", "No idea."),
        ("Colour of a lemon?", "A lemon is yellow.", "A lemon is blue, often."),
    ],
    "01b-question-no-common-words": [("Is water wet?", "Yes", "No"), ("Is fire cold?", "No", "Yes")],
    "02-system-column": [
        ([{"role": "system", "content": "Talk like a sailor."}, user("Greet me.")], "Ahoy!", "Hello."),
        ([{"role": "system", "content": "Be formal."}, user("Greet me.")], "Good day.", "Yo."),
    ],
    "03-alpaca": [
        ("Translate to French\ncat", "The translation is chat.", "The translation is chien."),
        ("Add\n1 2", "It is 3", "It is 4"),
    ],
    "06-sharegpt": [([user("Hi")], [answer("Hello")], [answer("Go")])],
    "06b-sharegpt-lists": [([user("Hi")], [answer("Hello")], [answer("Go")])],
    "07-axolotl-chat": [([user("Hi")], [answer("Hello")], [answer("Go")])],
    "07b-messages-col-lists": [([user("Hi")], [answer("Hello")], [answer("Go")])],
    "07c-messages-col-str": [([user("Hi")], "I say hello", "I say go")],
}
"""What each reported input is to be read as; rows of the same shapes are in `dataset_rows.py`."""


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
@pytest.mark.parametrize("name", FAULTS)
def test_every_reported_input_is_read_as_it_was_meant(name: str) -> None:
    made = load_pairs(DataSpec(path=str(CASES / name / "data.jsonl")), FORMATS)
    assert [pair for _, pair in made.pairs] == [Pair(*expected) for expected in FAULTS[name]]


END_TO_END = [
    "orca_dpo_pairs",
    "PKU-SafeRLHF",
    "HelpSteer3",
    "OpenAI",
    "UltraFeedback",
    "LLaMA-Factory sharegpt",
    "SHP",
]


@pytest.mark.parametrize("name", END_TO_END)
def test_what_the_reference_scores_is_the_question_with_its_answers(name: str, home: Path, tiny_model: Path) -> None:
    path = home.parent / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_of(SHAPES[name])))
    job = make_job(home, model=str(tiny_model), data={"path": str(path), "validation": 0.0, "max_length": 4096})
    run_precompute(job)
    reference = ReferenceLogprobs(ReferenceCache.open(job.home.cache), "")
    tokenizer = mlx_lm.utils.load_tokenizer(tiny_model)
    asked = [(SHAPES[name].prompt(triple), text) for triple in TRIPLES for text in (triple.better, triple.worse)]
    for (prompt, text), found in zip(asked, reference.of_texts(asked, tokenizer, 4096)):
        assert found is not None, (prompt, text)
        start = len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True))
        whole = tokenizer.apply_chat_template([*prompt, answer(text)])
        np.testing.assert_array_equal(found, reference.of_tokens(whole[: start + len(found)], start))
    assert len(list(reference.every())) == len(asked)
