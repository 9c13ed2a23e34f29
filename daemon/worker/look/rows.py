"""Shows a page of a job's rows as the model reads them, also those that give no pair, with the lengths of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prefd.daemon.worker.data.decoding import list_special_ids, split_side
from prefd.daemon.worker.data.prepare import PreparedData, SourceReport
from prefd.daemon.worker.data.remarks import find_remarks
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.preview import order_examples
from prefd.daemon.worker_tasks.looks import Lengths, RowPart, RowsPage, RowsQuestion, ShownRow
from prefd.daemon.worker_tasks.previews import Part

MOST_BINS = 24
WIDTHS = tuple(first * 10**power for power in range(7) for first in (1, 2, 5))
"""Widths of a histogram's bins that a person reads with ease."""


@dataclass(frozen=True)
class DroppedRow:
    """DroppedRow is a row that gives no pair."""

    row: int
    place: str
    reason: str
    held_out: bool
    """Whether it stands in the held-out pairs' own source."""


def show_rows(job: SpecifiedJob, question: RowsQuestion) -> RowsPage:
    """Show the page of rows that `question` asks for. Only these are decoded."""
    held_out = {id(example) for example in job.data.held_out}
    rows = [
        row
        for row in _list_rows(job.data)
        if _is_shown(row, question.show, isinstance(row, Example) and id(row) in held_out)
    ]
    special = list_special_ids(job.tokenizer)
    page = rows[question.offset : question.offset + question.limit]
    return RowsPage(
        report=job.data.report.summarize(),
        total=len(rows),
        lengths=count_lengths(job.examples),
        rows=[
            _show_dropped(row) if isinstance(row, DroppedRow) else _show_pair(job, row, special, id(row) in held_out)
            for row in page
        ],
    )


def _is_shown(row: Example | DroppedRow, show: str, held_out: bool) -> bool:
    if isinstance(row, DroppedRow):
        return show in ("all", "dropped")
    return {
        "all": True,
        "kept": True,
        "cut": bool(row.chosen.cut or row.rejected.cut),
        "dropped": False,
        "held_out": held_out,
    }[show]


def _list_rows(data: PreparedData) -> list[Example | DroppedRow]:
    """List pairs and rows without one in the order of the files; those of a separate held-out source come last."""
    examples = order_examples(data)
    report = data.report
    if report.validation is None:
        return sorted([*examples, *_list_dropped(report.train, False)], key=lambda row: row.row)
    train: list[Example | DroppedRow] = [*data.train, *_list_dropped(report.train, False)]
    held_out: list[Example | DroppedRow] = [*data.held_out, *_list_dropped(report.validation, True)]
    return [*sorted(train, key=lambda row: row.row), *sorted(held_out, key=lambda row: row.row)]


def _list_dropped(source: SourceReport, held_out: bool) -> Iterator[DroppedRow]:
    for reason, rows in source.unusable.rows.items():
        for row in dict.fromkeys(rows):
            yield DroppedRow(row, str(source.unusable.places[row - 1]), reason, held_out)


def _show_dropped(row: DroppedRow) -> ShownRow:
    return ShownRow(row=row.row, place=row.place, drop=row.reason, held_out=row.held_out)


def _show_pair(job: SpecifiedJob, example: Example, special: frozenset[int], held_out: bool) -> ShownRow:
    prompt, chosen = split_side(job.tokenizer, example.chosen, special)
    _, rejected = split_side(job.tokenizer, example.rejected, special)
    return ShownRow(
        row=example.row,
        place=str(example),
        drop=None,
        held_out=held_out,
        cut=bool(example.chosen.cut or example.rejected.cut),
        boundary=example.chosen.apart or example.rejected.apart,
        prompt=_show_part(prompt),
        chosen=_show_part(chosen),
        rejected=_show_part(rejected),
        remarks=[remark.text for remark in find_remarks(example, special, job.spec.data.max_length)],
    )


def _show_part(part: Part) -> RowPart:
    return RowPart(
        text=part.text,
        tokens=len(part.ids),
        counted=sum(part.counted),
        cut=part.cut,
        special=list(_find_special_spans(part)),
    )


def _find_special_spans(part: Part) -> Iterator[tuple[int, int]]:
    """Yield where in the part's text each special token stands."""
    begin = 0
    for text, is_special in zip(part.texts, part.special):
        if is_special and text:
            yield begin, begin + len(text)
        begin += len(text)


def count_lengths(examples: Sequence[Example]) -> dict[str, Lengths]:
    """Count how long prompts and answers are, in tokens."""

    def answer(side: Completion) -> int:
        return len(side.ids) - side.start

    return {
        "prompt": bin_lengths([example.chosen.start for example in examples]),
        "chosen": bin_lengths([answer(example.chosen) for example in examples]),
        "rejected": bin_lengths([answer(example.rejected) for example in examples]),
    }


def bin_lengths(lengths: Sequence[int]) -> Lengths:
    """Count `lengths`, of which there is one at least, in bins of a round width."""
    least, most = min(lengths), max(lengths)
    width = next((each for each in WIDTHS if most // each - least // each < MOST_BINS), WIDTHS[-1])
    first = least // width
    counts = [0] * (most // width - first + 1)
    for length in lengths:
        counts[length // width - first] += 1
    mean = sum(lengths) / len(lengths)
    return Lengths.model_validate({"from": first * width, "width": width, "counts": counts, "mean": mean, "max": most})
