"""Much-used datasets, by the columns they have on the hub: each row gives the pair that is meant, or is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import mlx_lm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefd.cache.store import ReferenceCache
from prefd.daemon.notebook import ReferenceLogprobs
from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.prepare import load_pairs
from prefd.daemon.worker.data.rows import DataError
from prefd.plugins.formats.prompt import answer_text
from prefd.plugins.types import Pair
from support.dataset_rows import TRIPLES, Row, Shape, Triple, answer, chat, user
from support.dataset_shapes import SHAPES, rows_of
from support.jobs_on_disk import make_job, run_precompute
from support.paths import ROOT
from support.reading_rows import FORMATS, as_messages, read, texts

SHARED = ROOT.parent / "shared" / "datasets" / "shapes.jsonl"


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
    dataset = load_pairs(DataSpec(path=str(path)), FORMATS)
    assert [number for number, _ in dataset.pairs] == [1, 2, 3]
    for (_, pair), expected in zip(dataset.pairs, shape["expect"]):
        assert (answer_text(pair.chosen), answer_text(pair.rejected)) == (expected["chosen"], expected["rejected"])
        if "prompt" in expected:
            assert as_messages(pair) == expected["prompt"]
        else:
            assert expected["prompt_contains"] in str(pair.prompt)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_read_to_its_pairs(name: str) -> None:
    dataset = read(rows_of(SHAPES[name]))
    assert dataset.unusable == []
    assert [number for number, _ in dataset.pairs] == [1, 2, 3]
    assert texts(dataset) == [(triple.better, triple.worse) for triple in TRIPLES]
    assert [as_messages(pair) for _, pair in dataset.pairs] == [SHAPES[name].prompt(triple) for triple in TRIPLES]


@pytest.mark.parametrize("name", SHAPES)
def test_a_dataset_of_one_row_is_read_to_its_pair_or_refused(name: str) -> None:
    for swapped in (False, True):
        try:
            dataset = read([SHAPES[name].row(TRIPLES[0], swapped)])
        except DataError:
            continue  # of one number it may not be certain what it counts from
        assert texts(dataset) == [(TRIPLES[0].better, TRIPLES[0].worse)]


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
    ("y_w", "y_l"),
    ("Chosen Response", "Rejected Response"),
    ("chosenAnswer", "rejectedAnswer"),
    ("better-output", "worse-output"),
]
SPELLINGS = [str, str.title, lambda name: name.replace("_", " "), lambda name: name.replace("_", "-").upper()]
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
    *("Response A", "responseB", "response-1", "output_one", "response_01", "candidates", "answers", "generations"),
    *("y_w", "response_k", "Chosen", "preferred_output", "worse", "winner_model_a", "first_wins", "swapped"),
    *("score_a", "rank_0", "ratings", "better_response_id", "preference_strength", "Question", "query_text", "post"),
]
VALUES = st.one_of(
    st.none(),
    st.integers(-3, 9),
    st.floats(0, 9),
    st.booleans(),
    st.sampled_from(["0", "1", "2", " ", "first"]),
    st.sampled_from(["", "a", "A", "response_a", "tie", "What is the answer to this one, please?", "He did not say."]),
    st.just([]),
    st.just([1.0, 2.0]),
    st.just({}),
    st.just({"text": "Nobody."}),
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
                spelling = draw(st.shared(st.sampled_from(SPELLINGS), key="spelling"))
                rows = renamed(rows, {f"{old}{mark}": spelling(f"{new}{mark}")})
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


@settings(deadline=None, max_examples=150)
@given(disguised())
def test_shuffled_renamed_and_extra_columns_give_the_same_pairs_or_none(case: tuple[Shape, list[Row]]) -> None:
    check_pairs(*case)


@pytest.mark.thorough  # the test above, with more examples
@settings(deadline=None, max_examples=500)
@given(disguised())
def test_many_more_columns_give_the_same_pairs_or_none(case: tuple[Shape, list[Row]]) -> None:
    check_pairs(*case)


def check_pairs(shape: Shape, rows: list[Row]) -> None:
    """Shows that the rows of a shape are refused, or read as the triples that they were made of."""
    try:
        dataset = read(rows)
    except DataError:
        return
    for number, pair in dataset.pairs:
        triple = TRIPLES[number - 1]
        assert (answer_text(pair.chosen).strip(), answer_text(pair.rejected).strip()) == (triple.better, triple.worse)
        assert as_messages(pair) == shape.prompt(triple)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(sorted(SHAPES)), st.randoms(use_true_random=False))
def test_the_order_of_columns_changes_nothing(name: str, order: random.Random) -> None:
    rows = [dict(order.sample(sorted(row.items()), len(row))) for row in rows_of(SHAPES[name])]
    assert read(rows).pairs == read(rows_of(SHAPES[name])).pairs


def test_a_triple_has_what_the_shapes_are_made_of() -> None:
    assert all(isinstance(triple, Triple) and len(set(triple)) == 3 for triple in TRIPLES)


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
"""What each reported input is to be read as; rows of the same shapes are in `dataset_shapes.py`."""


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
@pytest.mark.parametrize("name", FAULTS)
def test_every_reported_input_is_read_as_it_was_meant(name: str) -> None:
    dataset = load_pairs(DataSpec(path=str(CASES / name / "data.jsonl")), FORMATS)
    assert [pair for _, pair in dataset.pairs] == [Pair(*expected) for expected in FAULTS[name]]


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
    questions = [(SHAPES[name].prompt(triple), text) for triple in TRIPLES for text in (triple.better, triple.worse)]
    for (prompt, text), logprobs in zip(questions, reference.of_texts(questions, tokenizer, 4096)):
        assert logprobs is not None, (prompt, text)
        start = len(tokenizer.apply_chat_template(prompt, add_generation_prompt=True))
        whole = tokenizer.apply_chat_template([*prompt, answer(text)])
        np.testing.assert_array_equal(logprobs, reference.of_tokens(whole[: start + len(logprobs)], start))
    assert len(list(reference.every())) == len(questions)
