"""A job's data: the same pairs in every shape and file, what is held out, and what the report says."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm.utils import load_tokenizer

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.prepare import DataError, PreparedData, prepare, split
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.plugins import formats
from prefd.plugins.types import RowFormat
from support import tiny_model
from support.sample_pairs import PAIRS

FORMATS: dict[str, RowFormat] = {}
formats.register_formats(FORMATS.__setitem__)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_model.build_tokenizer(folder)
    return load_tokenizer(folder)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def answer(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def text(content: str) -> list[dict[str, Any]]:
    """Two parts that are `content` together."""
    return [{"type": "text", "text": content[:2]}, {"type": "text", "text": content[2:]}]


def call(arguments: dict[str, Any], as_text: bool) -> dict[str, Any]:
    function = {"name": "weather", "arguments": json.dumps(arguments) if as_text else arguments}
    return {
        "role": "assistant",
        "content": "calling weather",
        "tool_calls": [{"type": "function", "function": function}],
    }


Shape = Callable[[str, str, str], dict[str, Any]]
SHAPES: dict[str, Shape] = {
    "explicit strings": lambda p, c, r: {"prompt": p, "chosen": c, "rejected": r},
    "explicit messages": lambda p, c, r: {"prompt": [user(p)], "chosen": [answer(c)], "rejected": [answer(r)]},
    "messages and strings": lambda p, c, r: {"prompt": [user(p)], "chosen": c, "rejected": r},
    "string prompt": lambda p, c, r: {"prompt": p, "chosen": [answer(c)], "rejected": [answer(r)]},
    "text parts": lambda p, c, r: {
        "prompt": [user(text(p))],
        "chosen": [answer(text(c))],
        "rejected": [answer(text(r))],
    },
    "messages as JSON text": lambda p, c, r: {
        "chosen": json.dumps([user(p), answer(c)]),
        "rejected": json.dumps([user(p), answer(r)]),
    },
    "one message as JSON text": lambda p, c, r: {"prompt": p, "chosen": json.dumps(answer(c)), "rejected": r},
    "implicit messages": lambda p, c, r: {"chosen": [user(p), answer(c)], "rejected": [user(p), answer(r)]},
    "messages with the prompt beside": lambda p, c, r: {
        "prompt": p,
        "chosen": [user(p), answer(c)],
        "rejected": [user(p), answer(r)],
    },
    "hh": lambda p, c, r: {
        "chosen": f"\n\nHuman: {p}\n\nAssistant: {c}",
        "rejected": f"\n\nHuman: {p}\n\nAssistant: {r}",
    },
    "hh prompt": lambda p, c, r: {"prompt": f"\n\nHuman: {p}\n\nAssistant:", "chosen": f" {c}", "rejected": f" {r}"},
    "implicit strings": lambda p, c, r: {"chosen": f"{p} {c}", "rejected": f"{p} {r}"},
    "implicit lines": lambda p, c, r: {"chosen": f"{p}\n\n{c}\n", "rejected": f"{p}\n\n{r}\n"},
    "other columns": lambda p, c, r: {"id": 7, "question": p, "chosen": c, "rejected": r, "score": None},
}
SUFFIXES = ["jsonl", "json", "csv", "parquet", "folder"]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """`rows` at `path`, by its suffix; messages in a CSV file as JSON."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=2))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(rows[0])
            writer.writerows(
                [
                    "" if value is None else value if isinstance(value, str) else json.dumps(value)
                    for value in row.values()
                ]
                for row in rows
            )


def source(folder: Path, rows: list[dict[str, Any]], suffix: str) -> Path:
    if suffix != "folder":
        path = folder / f"pairs.{suffix}"
        write(path, rows)
        return path
    parts = folder / "parts"
    parts.mkdir()
    write(parts / "part-0.jsonl", rows[:3])
    write(parts / "part-1.parquet", rows[3:])
    return parts


def prepared(tokenizer: Any, path: Path, **spec: Any) -> PreparedData:
    return prepare(DataSpec(path=str(path), **spec), tokenizer, FORMATS)


class TestShapes:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_the_same_pairs_in_every_shape_and_file_are_the_same_tokens(
        self, tokenizer: Any, tmp_path: Path, shape: str, suffix: str
    ) -> None:
        rows = [SHAPES[shape](pair["prompt"], pair["chosen"], pair["rejected"]) for pair in PAIRS]
        spec = {"prompt_feature": "question"} if shape == "other columns" else {}
        data = prepared(tokenizer, source(tmp_path, rows, suffix), validation=0.25, **spec)
        write(tmp_path / "plain.jsonl", PAIRS)
        expected = prepared(tokenizer, tmp_path / "plain.jsonl", validation=0.25)
        assert data.train == expected.train
        assert data.held_out == expected.held_out
        assert len(data.train) == 6
        assert data.report.train.boundary == 0
        assert not data.report.train.unusable

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_tools_and_template_arguments_of_every_file_reach_the_template(self, tmp_path: Path, suffix: str) -> None:
        template = "{{ tools | tojson if tools }}{{ shout if shout is defined }}" + tiny_model.CHATML
        tiny_model.build_tokenizer(tmp_path / "model", template)
        tools = [{"type": "function", "function": {"name": "now"}}]
        rows = [pair | {"tools": tools, "chat_template_kwargs": {"shout": "!"}} for pair in PAIRS]
        rows[0] = rows[0] | {"tools": None, "chat_template_kwargs": None}
        tokenizer = load_tokenizer(tmp_path / "model")
        data = prepared(tokenizer, source(tmp_path, rows, suffix), validation=0.0)
        heads = [
            tokenizer.decode(example.chosen.prompt.tolist()).partition("<|im_start|>")[0] for example in data.train
        ]
        assert heads == ["", *['[{"type": "function", "function": {"name": "now"}}]!'] * 7]

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("as_text", [False, True])
    def test_calls_of_every_file_have_their_own_arguments_and_no_others(
        self, tmp_path: Path, suffix: str, as_text: bool
    ) -> None:
        """Parquet gives each struct the keys of all, which the spec says are padding; JSON text keeps a null that is meant."""
        calls = "{% for c in message.tool_calls or [] %}{{ c.function.arguments | tojson }}{% endfor %}"
        template = tiny_model.CHATML.replace(
            "{{ '<|im_start|>'",
            "{{ message.tool_calls[0].function.name if message.tool_calls }}" + calls + "{{ '<|im_start|>'",
            1,
        )
        tiny_model.build_tokenizer(tmp_path / "model", template)
        call_arguments = [
            {"city": "Rome"},
            {"unit": "c"},
            {"city": "Oslo", "unit": None} if as_text else {"city": "Oslo"},
        ]
        rows = [
            pair | {"prompt": [user(pair["prompt"]), call(call_arguments[n % 3], as_text)]}
            for n, pair in enumerate(PAIRS)
        ]
        tokenizer = load_tokenizer(tmp_path / "model")
        data = prepared(tokenizer, source(tmp_path, rows, suffix), validation=0.0, nulls="drop")
        assert not data.report.train.unusable
        for n, example in enumerate(data.train):
            prompt = tokenizer.decode(example.chosen.prompt.tolist())
            assert f"weather{json.dumps(call_arguments[n % 3])}<|im_start|>assistant" in prompt

    def test_one_line_for_what_both_sources_have_to_say(self, tmp_path: Path) -> None:
        tiny_model.build_tokenizer(tmp_path / "model", "{{ strftime_now('%Y') }}" + tiny_model.CHATML)
        write(tmp_path / "a.jsonl", PAIRS[:5])
        write(tmp_path / "b.jsonl", PAIRS[5:])
        data = prepared(load_tokenizer(tmp_path / "model"), tmp_path / "a.jsonl", validation=str(tmp_path / "b.jsonl"))
        note = "the chat template prints the date; prompts are rendered as of 2024-07-26 (data.date)"
        assert data.report.lines().count(note) == 1
        assert data.report.summarize().to_json()["notes"] == [note]


class TestHeldOut:
    def test_whole_prompts_are_held_out(self, tokenizer: Any, tmp_path: Path) -> None:
        rows = [{"prompt": f"q{i % 10}", "chosen": f"a{i}", "rejected": "b"} for i in range(30)]
        write(tmp_path / "a.jsonl", rows)
        data = prepared(tokenizer, tmp_path / "a.jsonl", validation=0.2)
        assert (len(data.train), len(data.held_out)) == (24, 6)
        prompts = [{example.chosen.prompt.tobytes() for example in side} for side in (data.train, data.held_out)]
        assert prompts[0].isdisjoint(prompts[1])
        assert [example.row for example in data.train] == sorted(example.row for example in data.train)

    def test_the_split_is_the_same_when_rows_are_reordered(self, tokenizer: Any, tmp_path: Path) -> None:
        write(tmp_path / "a.jsonl", PAIRS)
        write(tmp_path / "b.jsonl", PAIRS[::-1])
        one, two = (prepared(tokenizer, tmp_path / name, validation=0.3) for name in ("a.jsonl", "b.jsonl"))
        assert [example.chosen for example in one.held_out] == [example.chosen for example in two.held_out][::-1]

    @pytest.mark.parametrize(("fraction", "expected"), [(0.0, 0), (0.01, 1), (0.25, 2), (0.99, 7)])
    def test_a_fraction_holds_out_at_least_one_prompt_and_never_all(
        self, tokenizer: Any, pairs_file: Path, fraction: float, expected: int
    ) -> None:
        data = prepared(tokenizer, pairs_file, validation=fraction)
        assert (len(data.train), len(data.held_out)) == (8 - expected, expected)

    def test_one_prompt_is_trained_on(self, tokenizer: Any, tmp_path: Path) -> None:
        write(tmp_path / "a.jsonl", [PAIRS[0], PAIRS[0] | {"chosen": "4."}])
        data = prepared(tokenizer, tmp_path / "a.jsonl", validation=0.5)
        assert (len(data.train), len(data.held_out)) == (2, 0)

    def test_pairs_of_their_own(self, tokenizer: Any, tmp_path: Path) -> None:
        write(tmp_path / "a.jsonl", PAIRS[:5])
        write(tmp_path / "b.csv", [PAIRS[4], *PAIRS[5:], PAIRS[5] | {"chosen": ""}])
        data = prepared(tokenizer, tmp_path / "a.jsonl", validation=str(tmp_path / "b.csv"))
        assert (len(data.train), len(data.held_out), data.report.overlap) == (5, 4, 1)
        report = data.report.summarize().to_json()
        assert (report["rows"], report["used"], report["held_out"]) == (5, 5, 4)
        assert report["validation"] == {
            "source": str(tmp_path / "b.csv"),
            "rows": 5,
            "format": "explicit",
            "truncated": 0,
            "boundary": 0,
            "unusable": {"empty completion": {"count": 1, "rows": [5], "places": ["b.csv:6"]}},
            "pairs": 4,
            "columns": ["prompt", "chosen", "rejected"],
            "unread": [],
            "notes": [],
            "left_out": 0,
            "overlap": 1,
        }
        assert data.report.lines()[-1] == "1 pair held out with a prompt that is trained on too"
        assert data.report.lines()[1:3] == [
            f"held out: {tmp_path / 'b.csv'}: 5 rows in format explicit, 4 usable",
            "held out: unusable: 1 × empty completion (b.csv:6)",
        ]

    def test_a_folder_with_splits_brings_both(self, tokenizer: Any, tmp_path: Path) -> None:
        write(tmp_path / "train.jsonl", PAIRS[:5])
        write(tmp_path / "test.jsonl", PAIRS[5:])
        data = prepared(tokenizer, tmp_path, validation=str(tmp_path))
        assert (len(data.train), len(data.held_out), data.report.overlap) == (5, 3, 0)

    def test_a_source_that_cannot_be_used_names_its_field(self, tokenizer: Any, pairs_file: Path) -> None:
        with pytest.raises(DataError, match=r"data\.validation: .*nowhere\.jsonl: no such file or folder"):
            prepared(tokenizer, pairs_file, validation=str(pairs_file.with_name("nowhere.jsonl")))

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.floats(0, 0.999))
    def test_any_split_keeps_every_pair_and_parts_no_prompt(self, prompts: list[int], fraction: float) -> None:
        def side(prompt: int, row: int) -> Completion:
            return Completion(np.array([prompt, row], dtype=np.uint32), 1)

        examples = [Example(row, side(prompt, row), side(prompt, 99)) for row, prompt in enumerate(prompts)]
        train, held_out = split(examples, fraction)
        assert sorted(example.row for example in train + held_out) == list(range(len(prompts)))
        assert train
        assert bool(held_out) == (fraction > 0 and len(set(prompts)) > 1)
        assert {prompts[example.row] for example in train}.isdisjoint(prompts[example.row] for example in held_out)


class TestReport:
    def test_it_adds_up(self, tokenizer: Any, tmp_path: Path) -> None:
        long = PAIRS[0] | {"chosen": "many words " * 50}
        bad = [PAIRS[0] | {"chosen": ""}, PAIRS[0] | {"prompt": "long " * 500}]
        write(tmp_path / "a.jsonl", [*PAIRS, long, *bad])
        data = prepared(tokenizer, tmp_path / "a.jsonl", max_length=150, validation=0.2)
        assert data.report.summarize().to_json() == {
            "source": str(tmp_path / "a.jsonl"),
            "rows": 11,
            "format": "explicit",
            "used": len(data.train),
            "held_out": len(data.held_out),
            "truncated": 1,
            "boundary": 0,
            "unusable": {
                "empty completion": {"count": 1, "rows": [10], "places": ["a.jsonl:10"]},
                "nothing left after truncation": {"count": 1, "rows": [11], "places": ["a.jsonl:11"]},
            },
            "pairs": 9,
            "columns": ["prompt", "chosen", "rejected"],
            "unread": [],
            "notes": [],
            "left_out": 0,
            "validation": None,
            "lines": data.report.lines(),
        }
        assert len(data.train) + len(data.held_out) == 9
        assert json.loads(json.dumps(data.report.summarize().to_json())) == data.report.summarize().to_json()
        assert data.report.lines() == [
            f"{tmp_path / 'a.jsonl'}: 11 rows in format explicit, 9 usable",
            "unusable: 1 × empty completion (a.jsonl:10)",
            "unusable: 1 × nothing left after truncation (a.jsonl:11)",
            "1 pair cut at max_length 150",
            f"{len(data.train)} pairs to train on, {len(data.held_out)} held out",
        ]

    def test_columns_that_nobody_read_are_listed(self, tokenizer: Any, tmp_path: Path) -> None:
        rows = [pair | {"id": str(number), "score_chosen": 1, "score_rejected": 2} for number, pair in enumerate(PAIRS)]
        write(tmp_path / "a.jsonl", rows)
        report = prepared(tokenizer, tmp_path / "a.jsonl", validation=0.0).report
        assert report.lines()[:4] == [
            f"{tmp_path / 'a.jsonl'}: 8 rows in format explicit, 8 usable",
            "in 8 pairs chosen scores lower than rejected (a.jsonl:1, 2, 3, 4, 5, …); data.min_margin leaves such pairs out",
            "columns read: prompt, chosen, rejected, score_chosen, score_rejected",
            "columns not read: id",
        ]
        assert report.summarize().to_json()["unread"] == ["id"]
        assert report.summarize().to_json()["notes"] == report.lines()[1:2]

    def test_a_column_without_a_name_is_told_as_that(self, tokenizer: Any, tmp_path: Path) -> None:
        write(tmp_path / "a.jsonl", [{"": str(number), **pair} for number, pair in enumerate(PAIRS)])
        report = prepared(tokenizer, tmp_path / "a.jsonl", validation=0.0).report
        assert report.lines()[1] == "columns not read: '' (without a name)"

    def test_several_pairs_a_row_and_several_rows_a_pair_add_up(self, tokenizer: Any, tmp_path: Path) -> None:
        listed = {"prompt": "Which?", "answers": ["red", "blue", "green"], "scores": [1, 2, 3]}
        write(tmp_path / "a.jsonl", [listed])
        report = prepared(tokenizer, tmp_path / "a.jsonl", validation=0.0, pairs="all").report
        assert report.lines()[0] == f"{tmp_path / 'a.jsonl'}: 1 row in format ranked, 1 usable, 3 pairs"
        write(
            tmp_path / "b.jsonl",
            [{"prompt": "Which?", "response": text, "score": len(text)} for text in ("red", "blue")],
        )
        report = prepared(tokenizer, tmp_path / "b.jsonl", validation=0.0).report
        assert report.lines()[0] == f"{tmp_path / 'b.jsonl'}: 2 rows in format grouped, 2 usable, 1 pair"
        assert report.used == 1

    def test_a_pair_that_cannot_be_used_does_not_take_its_row_away(self, tokenizer: Any, tmp_path: Path) -> None:
        listed = {"prompt": "Which?", "answers": ["red", "", "green"], "scores": [1, 2, 3]}
        write(tmp_path / "a.jsonl", [listed])
        data = prepared(tokenizer, tmp_path / "a.jsonl", validation=0.0, pairs="all")
        assert data.report.lines()[0].endswith(": 1 row in format ranked, 1 usable")
        assert "unusable: 2 × empty completion (a.jsonl:1)" in data.report.lines()
        assert (len(data.train), data.report.train.pairs) == (1, 1)

    def test_pairs_that_do_not_join_are_told_of(self, tmp_path: Path) -> None:
        tiny_model.build_tokenizer(tmp_path, None)
        write(tmp_path / "a.jsonl", [{"prompt": "oth", "chosen": "er", "rejected": "x"}] * 2)
        data = prepared(load_tokenizer(tmp_path), tmp_path / "a.jsonl", validation=0.0)
        assert "2 pairs with the answer set behind the prompt's own tokens, as they do not join" in data.report.lines()

    def test_a_job_whose_every_row_is_unusable_fails_saying_so(self, tokenizer: Any, pairs_file: Path) -> None:
        with pytest.raises(DataError) as caught:
            prepared(tokenizer, pairs_file, max_length=2)
        assert str(caught.value) == (
            f"data.path: {pairs_file}: none of its 8 rows can be used: "
            "8 × nothing left after truncation (pairs.jsonl:1, 2, 3, 4, 5, …)"
        )

    def test_a_tokenizer_without_eos_fails_saying_so(self, tmp_path: Path, pairs_file: Path) -> None:
        tiny_model.build_tokenizer(tmp_path / "model", eos_token=None)
        with pytest.raises(DataError, match=r"model: the tokenizer has no EOS token; name one as eos_token"):
            prepared(load_tokenizer(tmp_path / "model"), pairs_file)


def test_real_pairs(tokenizer: Any, shared_pairs: Path) -> None:
    data = prepared(tokenizer, shared_pairs, max_length=2048)
    report = data.report.summarize().to_json()
    assert (report["rows"], report["format"], report["unusable"]) == (450, "explicit", {})
    assert report["used"] + report["held_out"] == 450
    assert 0.02 < report["held_out"] / 450 < 0.1
    completions = {side for example in data.train + data.held_out for side in (example.chosen, example.rejected)}
    assert len(completions) < 700  # most chosen answers stand in three pairs
