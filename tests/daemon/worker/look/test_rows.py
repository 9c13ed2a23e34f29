"""Pages of rows: those that give a pair as they are trained on, and those that give none with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.look.kept_data import KeptData
from prefd.daemon.worker.look.rows import bin_lengths, show_rows
from prefd.daemon.worker_tasks.looks import RowsPage, RowsQuestion
from support.sample_pairs import PAIRS

ROWS = [
    *PAIRS,
    {"prompt": "Same?", "chosen": "Yes.", "rejected": "Yes."},
    {"prompt": "Long", "chosen": "a" * 80, "rejected": "b"},
]


@pytest.fixture
def spec(tiny_model: Path, tmp_path: Path) -> JobSpec:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    data = {"path": str(path), "max_length": 80, "validation": 0.25}
    return JobSpec.model_validate({"model": str(tiny_model), "data": data})


def page(home: Path, spec: JobSpec, **more: Any) -> RowsPage:
    return show_rows(KeptData(Home(home)).make_job(spec), RowsQuestion(spec=spec, **more))


def test_all_rows_come_in_the_order_of_the_file_those_without_a_pair_too(home: Path, spec: JobSpec) -> None:
    shown = page(home, spec, limit=100)
    assert [row.row for row in shown.rows] == list(range(1, len(ROWS) + 1))
    assert [(row.row, row.drop, row.prompt) for row in shown.rows if row.drop] == [(9, "identical sides", None)]
    assert shown.total == len(ROWS)
    assert (shown.report.used, shown.report.held_out) == (7, 2)


def test_each_choice_shows_its_rows_and_a_page_is_a_part_of_them(home: Path, spec: JobSpec) -> None:
    whole, cut, dropped, held_out = (page(home, spec, show=show) for show in ("kept", "cut", "dropped", "held_out"))
    assert [len(each.rows) for each in (whole, cut, dropped, held_out)] == [9, 1, 1, 2]
    assert cut.rows[0].cut
    assert cut.rows[0].chosen is not None
    assert cut.rows[0].chosen.cut > 0
    assert all(row.held_out for row in held_out.rows)
    middle = page(home, spec, show="kept", offset=2, limit=3)
    assert [row.row for row in middle.rows] == [row.row for row in whole.rows[2:5]]
    assert middle.total == 9


def test_texts_are_those_of_the_ids_and_special_tokens_are_marked(home: Path, spec: JobSpec) -> None:
    (row,) = page(home, spec, limit=1).rows
    assert row.prompt is not None
    assert row.chosen is not None
    assert row.prompt.text == "<|im_start|>user\nWhat is two plus two?<|im_end|>\n<|im_start|>assistant\n"
    assert row.chosen.text == "Four.<|im_end|>"
    assert [row.prompt.text[begin:end] for begin, end in row.prompt.special] == [
        "<|im_start|>",
        "<|im_end|>",
        "<|im_start|>",
    ]
    assert row.chosen.counted == row.chosen.tokens


def test_lengths_count_every_pair_in_bins_of_a_round_width() -> None:
    lengths = bin_lengths([7, 8, 31, 208])
    assert (lengths.start, lengths.width, sum(lengths.counts), lengths.mean, lengths.max) == (0, 10, 4, 63.5, 208)
    assert [index for index, count in enumerate(lengths.counts) if count] == [0, 3, 20]
    assert bin_lengths([5]).to_json() == {"start": 5, "width": 1, "counts": [1], "mean": 5.0, "max": 5}


def test_a_page_is_written_with_the_name_that_its_reader_knows(home: Path, spec: JobSpec) -> None:
    document = page(home, spec, limit=1).to_json()
    assert set(document["lengths"]["prompt"]) == {"from", "width", "counts", "mean", "max"}
    assert RowsPage.model_validate(document).to_json() == document


def test_what_is_kept_is_read_again_when_a_file_has_changed(home: Path, spec: JobSpec) -> None:
    kept_data = KeptData(Home(home))
    first = kept_data.make_job(spec)
    assert kept_data.make_job(spec.model_copy(update={"name": "another"})).data is first.data
    path = Path(spec.data.where)
    path.write_text(path.read_text() + json.dumps({"prompt": "New?", "chosen": "Yes.", "rejected": "No."}) + "\n")
    again = kept_data.make_job(spec)
    assert len(again.examples) == len(first.examples) + 1
    assert again.tokenizer is first.tokenizer
