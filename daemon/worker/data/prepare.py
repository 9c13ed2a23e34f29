"""Prepares a job's data, from its spec to tokenized examples: those to train on, those held out, and those left out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prefd.daemon.runs.data_summary import DataSummary, HeldOutSummary, SourceSummary
from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.text.wording import pluralize
from prefd.daemon.worker.data.exclusions import describe_unmet, digest_pair, leave_out, read_exclusions
from prefd.daemon.worker.data.feedback import place_mismatched
from prefd.daemon.worker.data.mixing import load_held_out, load_pairs
from prefd.daemon.worker.data.pairs import LoadedPairs, Unusable, no_usable_rows_error, refuse_unclear
from prefd.daemon.worker.data.prompts import ChatTokenizer, Settings
from prefd.daemon.worker.data.rows import DataError
from prefd.daemon.worker.data.tokens import Encoder, Example
from prefd.plugins.types import RowFormat, UnclearRow, UnusableRow

__all__ = ["DataError", "DataReport", "LoadedPairs", "PreparedData", "SourceReport", "load_pairs", "prepare"]

CONTRACT = frozenset(["prompt", "chosen", "rejected", "tools", "chat_template_kwargs"])
"""Columns that need no word where they are read."""


@dataclass(frozen=True)
class SourceReport:
    """SourceReport says what became of the rows of one source, by counts and notes."""

    source: str
    rows: int
    format: str
    truncated: int
    """Usable rows with a side cut at the length limit."""
    boundary: int
    """Usable rows whose prompt is not what prompt and answer together begin with (tokens.py, rule 2)."""
    unusable: Unusable
    pairs: int
    """Usable pairs: as many as usable rows, but where a row gives several or several rows give one."""
    used_rows: frozenset[int]
    """Rows with a usable pair."""
    columns: Sequence[str] = ()
    """Columns that any pair is made of."""
    unread: Sequence[str] = ()
    """Columns that no pair is made of."""
    merged: int = 0
    """Those of `boundary` whose answer and prompt would merge into other tokens."""
    left_out: int = 0
    """Usable pairs that a weight leaves out."""
    notes: Sequence[str] = ()
    """What else the data's owner should know, a line each."""
    unit: str = "pair"
    """What a job trains on: pairs, or single answers."""

    @property
    def usable(self) -> int:
        """Says how many rows give a pair, or share in one."""
        unusable_rows = {number for numbers in self.unusable.rows.values() for number in numbers}
        return self.rows - len(unusable_rows - self.used_rows)

    def count(self, number: int) -> str:
        """Writes so many pairs, or answers, in words."""
        return pluralize(number, self.unit)

    def summarize(self) -> SourceSummary:
        """Gives the counts as they stand in the job's summary."""
        return SourceSummary(
            source=self.source,
            rows=self.rows,
            format=self.format,
            truncated=self.truncated,
            boundary=self.boundary,
            unusable=self.unusable.summarize(),
            pairs=self.pairs,
            columns=list(self.columns),
            unread=list(self.unread),
            notes=list(self.notes),
            left_out=self.left_out,
        )

    def lines(self, max_length: int) -> list[str]:
        """Writes the report in words, a line for each thing a user should know."""
        pairs = "" if self.pairs == self.usable else f", {self.count(self.pairs)}"
        rows = "1 row" if self.rows == 1 else f"{self.rows} rows"
        lines = [f"{self.source}: {rows} in format {self.format}, {self.usable} usable{pairs}", *self.notes]
        if not CONTRACT.issuperset(self.columns):
            lines.append(f"columns read: {_list_columns(self.columns)}")
        if self.unread:
            lines.append(f"columns not read: {_list_columns(self.unread)}")
        lines += [f"unusable: {line}" for line in self.unusable.lines()]
        if self.truncated:
            lines.append(f"{self.count(self.truncated)} cut at max_length {max_length}")
        if self.merged:
            lines.append(
                f"{self.count(self.merged)} with the answer set behind the prompt's own tokens, as they do not join"
            )
        return lines


@dataclass(frozen=True)
class DataReport:
    """DataReport says what became of a job's rows, for its summary and its user."""

    train: SourceReport
    validation: SourceReport | None
    """The held-out pairs' own source, where they have one."""
    used: int
    """Pairs to train on."""
    held_out: int
    overlap: int
    """Held-out pairs whose prompt is trained on too: only a source of their own can bring any."""
    max_length: int

    def summarize(self) -> DataSummary:
        """Gives the report as a JSON document: the training source's counts, and those of the job."""
        validation = None
        if self.validation is not None:
            validation = HeldOutSummary(**dict(self.validation.summarize()), overlap=self.overlap)
        return DataSummary(
            **dict(self.train.summarize()),
            used=self.used,
            held_out=self.held_out,
            validation=validation,
            lines=self.lines(),
        )

    def lines(self) -> list[str]:
        """Writes the report in words, a line for each thing a user should know."""
        lines = self.train.lines(self.max_length)
        if self.validation is not None:
            lines += [f"held out: {line}" for line in self.validation.lines(self.max_length) if line not in lines]
        lines.append(f"{self.train.count(self.used)} to train on, {self.held_out} held out")
        if self.overlap:
            lines.append(f"{self.train.count(self.overlap)} held out with a prompt that is trained on too")
        return lines


@dataclass(frozen=True)
class PreparedData:
    """PreparedData holds the examples of a job, each list in the order of its rows."""

    train: list[Example]
    held_out: list[Example]
    report: DataReport

    def with_notes(self, notes: Sequence[str]) -> PreparedData:
        """Adds `notes` to the report."""
        train = replace(self.report.train, notes=[*self.report.train.notes, *notes])
        return replace(self, report=replace(self.report, train=train))


def prepare(
    spec: DataSpec,
    tokenizer: ChatTokenizer,
    formats: Mapping[str, RowFormat],
    commits: Mapping[str, str] | None = None,
    unpaired: bool = False,
) -> PreparedData:
    """Loads, tokenizes and splits a job's data. The same spec, files and tokenizer give the same examples and split.

    `unpaired`: for a loss of single answers with a label. `commits`: of hub datasets, instead of the revision in the spec. Raises `DataError` where nothing can be trained on,
    also for a tokenizer without EOS.
    """
    pairs, held_out_pairs = _load(spec, formats, commits, unpaired)
    examples, report = _encode(pairs, tokenizer, spec, "data.path")
    if held_out_pairs is not None:
        held_out, validation = _encode(held_out_pairs, tokenizer, spec, "data.validation")
        train = examples
    else:
        assert isinstance(spec.validation, float)
        train, held_out = split(examples, spec.validation)
        validation = None
    prompts = {_prompt_key(example) for example in train}
    overlap = sum(_prompt_key(example) in prompts for example in held_out)
    counts = DataReport(report, validation, len(train), len(held_out), overlap, spec.max_length)
    return PreparedData(train, held_out, counts)


def _load(
    spec: DataSpec, formats: Mapping[str, RowFormat], commits: Mapping[str, str] | None, unpaired: bool
) -> tuple[LoadedPairs, LoadedPairs | None]:
    """Loads the pairs to train on and those of a held-out source, without what `data.exclude` names."""
    pairs, held_out = (load(spec, formats, commits, unpaired) for load in (load_pairs, load_held_out))
    assert pairs is not None
    if spec.exclude is not None:
        names = read_exclusions(Path(spec.exclude))
        met = [leave_out(each, names) for each in (pairs, held_out) if each is not None]
        pairs.notes += describe_unmet(names, frozenset().union(*met))
    if unpaired:
        place_mismatched(pairs, "data.path")
        if held_out is not None:
            place_mismatched(held_out, "data.validation")
    return pairs, held_out


def split(examples: Sequence[Example], fraction: float) -> tuple[list[Example], list[Example]]:
    """Splits `examples` by prompt: those to train on, and a `fraction` to hold out, at least one prompt of two or more.

    Whole prompts are held out, so that none stands on both sides, in the order of a hash: whatever the seed, and with
    little change when rows are added.
    """
    prompts = sorted({_prompt_key(example) for example in examples})
    count = min(max(round(fraction * len(prompts)), 1), len(prompts) - 1) if fraction > 0 else 0
    held_out = set(prompts[:count])
    return (
        [example for example in examples if _prompt_key(example) not in held_out],
        [example for example in examples if _prompt_key(example) in held_out],
    )


def _encode(
    loaded: LoadedPairs, tokenizer: ChatTokenizer, spec: DataSpec, key: str
) -> tuple[list[Example], SourceReport]:
    try:
        encoder = Encoder(tokenizer, spec.max_length, Settings.from_spec(spec))
    except ValueError as error:
        raise DataError(f"model: {error}") from error
    if arguments := [
        column for column in loaded.unread if column in encoder.template_arguments - {*spec.ignore_columns}
    ]:
        raise DataError(
            f"{key}: {loaded.source}: the chat template reads {' and '.join(map(repr, arguments))}, and a column of that name is not "
            "handed to it; put it into a column 'chat_template_kwargs' (an object of names and values), or leave it out "
            f"(data.ignore_columns: [{', '.join(arguments)}])"
        )
    examples = []
    unclear: dict[int, UnclearRow] = {}
    for row, pair in loaded.pairs:
        try:
            place = str(loaded.places[row - 1])
            examples.append(replace(encoder.encode(pair, row), place=place, digest=digest_pair(pair)))
        except UnusableRow as reason:
            loaded.unusable.add(str(reason), row)
            if isinstance(reason, UnclearRow):
                unclear[row] = reason
    refuse_unclear(loaded, unclear, key)
    if not examples:
        raise no_usable_rows_error(loaded, key)
    return examples, SourceReport(
        loaded.source,
        loaded.rows,
        loaded.format,
        encoder.truncated,
        encoder.boundary,
        loaded.unusable,
        len(examples),
        frozenset(example.row for example in examples),
        loaded.columns,
        loaded.unread,
        encoder.merged,
        loaded.left_out,
        [*loaded.notes, *encoder.notes()],
        "pair" if examples[0].desirable is None else "answer",
    )


def _prompt_key(example: Example) -> bytes:
    return hashlib.sha256(example.chosen.prompt.tobytes()).digest()


def _list_columns(columns: Sequence[str]) -> str:
    """Lists columns in words; one without a name, as an index in CSV, is marked so."""
    return ", ".join(column if column.strip() else f"{column!r} (without a name)" for column in columns)
