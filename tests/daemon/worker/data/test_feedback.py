"""Single answers with a label: how rows are read, what stands beside each, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlx_lm.utils import load_tokenizer

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.prepare import DataError, PreparedData, prepare
from prefd.plugins import formats
from prefd.plugins.types import Feedback, RowFormat
from support import tiny_model

FORMATS: dict[str, RowFormat] = {}
formats.register_formats(FORMATS.__setitem__)
ROWS = [
    {"prompt": "Two plus two?", "completion": "Four.", "label": True},
    {"prompt": "Two plus two?", "completion": "Five.", "label": False},
    {"prompt": "A colour?", "completion": "Red.", "label": 1},
    {"prompt": "A month?", "completion": "Soup.", "label": "bad"},
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_model.build_tokenizer(folder)
    return load_tokenizer(folder)


def read(folder: Path, tokenizer: Any, rows: list[Any], unpaired: bool = True, **spec: Any) -> PreparedData:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    block = {"path": str(path), "validation": 0.0, **spec}
    return prepare(DataSpec.model_validate(block), tokenizer, FORMATS, unpaired=unpaired)


def texts(tokenizer: Any, data: PreparedData) -> list[tuple[str, str, bool | None]]:
    """Each answer, the one it is compared with, and its label."""

    def answer(side: Any) -> str:
        return str(tokenizer.decode(side.ids[side.start :].tolist())).removesuffix("<|im_end|>")

    return [(answer(each.chosen), answer(each.rejected), each.desirable) for each in data.train]


def test_an_answer_is_compared_with_the_last_one_to_another_prompt(tmp_path: Path, tokenizer: Any) -> None:
    data = read(tmp_path, tokenizer, ROWS)
    assert texts(tokenizer, data) == [
        ("Four.", "Soup.", True),
        ("Five.", "Soup.", False),
        ("Red.", "Five.", True),
        ("Soup.", "Red.", False),
    ]
    assert all(each.chosen.prompt.tolist() == each.rejected.prompt.tolist() for each in data.train)
    lines = data.report.lines()
    assert "single answers with a label: 2 good, 2 bad" in lines
    assert "4 answers to train on, 0 held out" in lines
    assert data.report.train.columns == ["prompt", "completion", "label"]
    assert data.report.train.unread == []


def test_a_row_at_the_end_changes_one_comparison(tmp_path: Path, tokenizer: Any) -> None:
    before = texts(tokenizer, read(tmp_path, tokenizer, ROWS))
    more = {"prompt": "A fish?", "completion": "Cod.", "label": True}
    after = texts(tokenizer, read(tmp_path, tokenizer, [*ROWS, more]))
    assert after[2:4] == before[2:]
    assert after[4] == ("Cod.", "Soup.", True)
    assert [other for _, other, _ in after[:2]] == ["Cod.", "Cod."]


def test_columns_may_be_named(tmp_path: Path, tokenizer: Any) -> None:
    rows = [{"ask": row["prompt"], "says": row["completion"], "ok": row["label"], "note": "x"} for row in ROWS]
    named = {"prompt_feature": "ask", "completion_feature": "says", "label_feature": "ok"}
    data = read(tmp_path, tokenizer, rows, **named)
    assert data.report.train.unread == ["note"]
    assert texts(tokenizer, data) == texts(tokenizer, read(tmp_path, tokenizer, ROWS))


def test_pairs_are_split_where_the_spec_says_so(tmp_path: Path, tokenizer: Any) -> None:
    pairs = [
        {"prompt": "P", "chosen": "yes", "rejected": "no"},
        {"prompt": "P", "chosen": "yes", "rejected": "never"},
        {"prompt": "Q", "chosen": "up", "rejected": "down"},
    ]
    with pytest.raises(DataError, match=r"data\.split_pairs: true"):
        read(tmp_path, tokenizer, pairs)
    data = read(tmp_path, tokenizer, pairs, split_pairs=True)
    assert [(answer, label) for answer, _, label in texts(tokenizer, data)] == [
        ("yes", True),
        ("no", False),
        ("never", False),
        ("up", True),
        ("down", False),
    ]
    assert any("3 pairs are split into single answers" in line for line in data.report.lines())


@pytest.mark.parametrize(
    ("rows", "spec", "problem"),
    [
        (ROWS, {"unpaired": False}, "take kto"),
        ([{"prompt": "P", "chosen": "a", "rejected": "b"}], {"unpaired": False, "split_pairs": True}, "leave it out"),
        (ROWS[:2], {}, "all answers are to one prompt"),
        (ROWS, {"min_margin": 0.5}, "data.min_margin is of pairs"),
        ([{**row, "label": "perhaps"} for row in ROWS], {}, "'perhaps', and neither true nor false"),
        ([{"prompt": "P", "completion": "a"}], {}, "no label"),
    ],
)
def test_what_does_not_fit_the_loss_is_refused(
    tmp_path: Path, tokenizer: Any, rows: list[Any], spec: dict[str, Any], problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        read(tmp_path, tokenizer, rows, **spec)


def test_conversations_are_read_as_text_is(tmp_path: Path, tokenizer: Any) -> None:
    rows = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "completion": [{"role": "assistant", "content": row["completion"]}],
            "label": row["label"],
        }
        for row in ROWS
    ]
    assert texts(tokenizer, read(tmp_path, tokenizer, rows)) == texts(tokenizer, read(tmp_path, tokenizer, ROWS))


def test_answers_that_are_good_and_bad_are_told(tmp_path: Path, tokenizer: Any) -> None:
    data = read(tmp_path, tokenizer, [*ROWS, {**ROWS[0], "label": False}])
    assert "1 answer called good by one row and bad by another (rows.jsonl:1, 5)" in data.report.lines()


def test_a_plugins_format_may_read_feedback(tmp_path: Path, tokenizer: Any) -> None:
    class Stars:
        def matches(self, row: Any) -> bool:
            return "stars" in row

        def pair(self, row: Any) -> Any:
            raise AssertionError("it makes no pair")

        def feedback(self, row: Any) -> Feedback:
            return Feedback(row["ask"], row["say"], row["stars"] > 3)

    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"ask": f"Q{n}", "say": f"a{n}", "stars": n, "by": "x"}) + "\n" for n in (2, 5)))
    spec = DataSpec(path=str(path), validation=0.0)
    data = prepare(spec, tokenizer, FORMATS | {"stars": Stars()}, unpaired=True)
    assert [each.desirable for each in data.train] == [False, True]
    assert data.report.train.unread == ["by"]


@pytest.mark.parametrize(("label", "only", "other"), [(True, "good", "bad"), (False, "bad", "good")])
def test_answers_with_one_label_alone_are_told_of(
    tmp_path: Path, tokenizer: Any, label: bool, only: str, other: str
) -> None:
    lines = read(tmp_path, tokenizer, [{**row, "label": label} for row in ROWS]).report.lines()
    (line,) = [line for line in lines if line.startswith("all answers are")]
    assert line.startswith(f"all answers are {only} ones: nothing says what a {other} one is")
    assert not any(line.startswith("all answers are") for line in read(tmp_path, tokenizer, ROWS).report.lines())


def test_the_other_prompts_answer_is_the_last_different_one_over_long_runs(tmp_path: Path, tokenizer: Any) -> None:
    """Runs of equal answers and of equal prompts are gone over, the end is followed by the beginning."""
    random = np.random.default_rng(0)
    prompts = np.repeat(random.integers(0, 4, 40), 5)
    answers = np.repeat(random.integers(0, 3, 25), 8)
    rows = [
        {"prompt": f"Q{prompt}?", "completion": f"A{answer}.", "label": bool(index % 2)}
        for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    ]
    count = len(rows)
    expected = [
        next(
            rows[(index - back) % count]["completion"]
            for back in range(1, count)
            if prompts[(index - back) % count] != prompts[index] and answers[(index - back) % count] != answers[index]
        )
        for index in range(count)
    ]
    assert [other for _, other, _ in texts(tokenizer, read(tmp_path, tokenizer, rows))] == expected
