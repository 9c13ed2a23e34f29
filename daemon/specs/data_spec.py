"""DataSpec is the `data:` block of a spec: where a job's rows are, which columns of them are read, and how they become text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from prefd.daemon.specs.chat_template import DEFAULT_DATE, TODAY, describe_reserved, parse_date
from prefd.daemon.specs.data_sources import Paths, Source, SourceSpec
from prefd.daemon.specs.path_or_hub_id import resolve_path, resolve_source
from prefd.daemon.text.strict_model import Fault, SpecModel, Text, refuse
from prefd.daemon.text.wording import format_value

ROLE_FEATURES = (
    "prompt_feature", "chosen_feature", "rejected_feature", "completion_feature", "label_feature", "system_feature",
)  # fmt: skip
"""Settings that name a column by what it holds."""
Fraction = Annotated[float, Field(ge=0, lt=1)]


class DataSpec(SpecModel):
    """Says where the pairs are and how a row is read."""

    path: Paths = Field(
        description="a jsonl, json, csv, tsv, parquet or arrow file, a folder of them, a HF dataset id, or a list of these",
        examples=["./pairs.jsonl", ["./a.jsonl", {"path": "./b.jsonl", "weight": 0.5}]],
    )
    split: Text = Field("train", description="the split, for a dataset that has them")
    config: Text | None = Field(None, description="which subset of a HF dataset that has several")
    data_dir: Text | None = Field(None, description="folder in the dataset that is read, and nothing else of it")
    revision: Text | None = Field(None, description="git revision of a HF dataset")
    prompt_feature: Text | Annotated[list[Text], Field(min_length=1)] = Field(
        "auto", description="column with the prompt, or a list of columns whose texts are joined, a line break between"
    )
    chosen_feature: Text = Field("auto", description="column with the preferred answer")
    rejected_feature: Text = Field("auto", description="column with the other answer")
    completion_feature: Text = Field("auto", description="of single answers, the column with the answer")
    label_feature: Text = Field("auto", description="of single answers, the column that says which are good ones")
    split_pairs: bool = Field(
        False,
        description="for a loss of single answers: each pair is two of them, the chosen one good and the other bad",
    )
    system_feature: Text = Field("auto", description="column with the system turn")
    winner_feature: Text = Field("auto", description="column that says which of several answers is preferred")
    score_feature: Text = Field("auto", description="column, or key of a listed answer, with an answer's score")
    ignore_columns: list[Text] = Field(
        [], description="columns that are not read, though they look like a prompt or an answer"
    )
    exclude: Text | None = Field(
        None,
        description="a text file whose lines name pairs to leave out, by digest or place, as `prefd xray SPEC --export FILE` writes it",
        examples=["./exclude.txt"],
    )
    pairs: Literal["best_worst", "best_rest", "all"] = Field(
        "best_worst", description="of several scored answers to a prompt: which make a pair"
    )
    min_margin: float | None = Field(
        None, ge=0, description="leave out pairs whose scores differ by less; default: none"
    )
    nulls: Literal["auto", "drop", "keep"] = Field(
        "auto",
        description="keys without a value in the tool calls and tools of a table: padding, nulls, or what is certain of them",
    )
    max_length: int = Field(1024, ge=2, description="tokens of prompt and completion together; the end is cut")
    validation: Fraction | Text = Field(0.05, description="fraction of the prompts held out, or a path to other pairs")
    validation_split: Text | None = Field(None, description="hold out this split of the dataset instead of a fraction")
    chat_template: Literal["auto", "none"] = Field(
        "auto", description="none: the rows are templated already, or want no template"
    )
    chat_template_kwargs: dict[str, Any] = Field(
        {},
        description="arguments of the chat template for every row; a row's own column wins",
        examples=[{"enable_thinking": False}],
    )
    date: str = Field(
        DEFAULT_DATE,
        description="the moment that a chat template prints which prints one; today: the day on which it is handed in",
        examples=["2026-01-31", "2026-01-31T09:30", "today"],
    )

    @property
    def sources(self) -> list[Source]:
        """Returns the datasets that are trained on."""
        if isinstance(self.path, str):
            return [self._source("data.path", SourceSpec(path=self.path))]
        entries = [SourceSpec(path=entry) if isinstance(entry, str) else entry for entry in self.path]
        return [self._source(f"data.path[{index}]", entry) for index, entry in enumerate(entries)]

    def _source(self, key: str, entry: SourceSpec) -> Source:
        return Source(
            key,
            entry.path,
            (entry.split or self.split,),
            entry.config or self.config,
            entry.data_dir or self.data_dir,
            entry.revision or self.revision,
            entry.weight,
        )

    @property
    def held_out_sources(self) -> list[Source]:
        """Returns the datasets that are held out in full; none where a fraction of the prompts is held out."""
        sources = self.sources
        if isinstance(self.validation, str):
            own = next((source for source in sources if source.path == self.validation), None)
            # A dataset with several splits keeps such pairs in one of these; what is trained on is not held out.
            splits: tuple[str, ...] = ("validation", "test") if own else ("validation", "test", self.split)
            if self.validation_split is not None:
                splits = (self.validation_split,)
            return [replace(own or Source("", self.validation), key="data.validation", splits=splits, weight=1.0)]
        if self.validation_split is not None:
            splits = (self.validation_split,)
            return [replace(source, key="data.validation_split", splits=splits, weight=1.0) for source in sources]
        return []

    @property
    def where(self) -> str:
        """Names the datasets that are trained on, for messages."""
        return ", ".join(dict.fromkeys(source.path for source in self.sources))

    @model_validator(mode="after")
    def check_datasets(self) -> Self:
        """Refuses datasets that contradict each other: listed twice, in two revisions, or with a split that is trained on."""
        refuse([*self._repeated_sources(), *self._split_faults(), *self._data_dir_faults()])
        return self

    def _repeated_sources(self) -> Iterator[Fault]:
        """A dataset listed twice would be trained on twice; two revisions of one could not be told apart."""
        keys: dict[Source, str] = {}
        revisions: dict[str, Source] = {}
        for index, source in enumerate(self.sources):
            first = keys.setdefault(replace(source, key="", weight=1.0), source.key)
            if first != source.key:
                yield ("path", index), f"it is {first} already; training.epochs repeats pairs", source.path
            other = revisions.setdefault(source.path, source)
            if other.revision != source.revision:
                message = (
                    f"{other.key} reads {source.path} at {other.revision or 'its newest revision'}; name the same one"
                )
                yield ("path", index, "revision"), message, source.revision

    def _split_faults(self) -> Iterator[Fault]:
        if self.validation_split is None:
            return
        if isinstance(self.validation, float):
            if self.validation != type(self).model_fields["validation"].default:  # which a spec in full has, too
                message = "data.validation is a fraction, and this a whole split; give one of the two"
                yield ("validation_split",), message, self.validation_split
            if any(self.validation_split in source.splits for source in self.sources):
                message = "it is the split that is trained on (data.split); name another"
                yield ("validation_split",), message, self.validation_split

    def _data_dir_faults(self) -> Iterator[Fault]:
        """A folder is read only where it lies in the dataset."""
        for index, source in enumerate(self.sources):
            folder = PurePath(source.data_dir or "")
            if folder.is_absolute() or ".." in folder.parts:
                own = not isinstance(self.path, str) and source.data_dir != self.data_dir
                message = f"must be a folder in the dataset, as harmless-base, got {format_value(source.data_dir)}"
                yield (("path", index, "data_dir") if own else ("data_dir",)), message, source.data_dir

    def resolved(self, folder: Path) -> DataSpec:
        """Returns this block with every path absolute, and `today` as a date. What the spec leaves out stays so."""
        update: dict[str, Any] = {"path": _resolve_entry(self.path, folder)}
        if isinstance(self.validation, str):
            update["validation"] = resolve_source(self.validation, folder)
        if self.exclude is not None:
            update["exclude"] = resolve_path(self.exclude, folder)
        if self.date == TODAY:
            update["date"] = date.today().isoformat()
        return self.model_copy(update=update)

    @field_validator("date", mode="before")
    @classmethod
    def check_date(cls, value: Any) -> Any:
        """Refuses a text that is no date, and takes TOML's own dates."""
        if isinstance(value, date):  # TOML has them
            value = value.isoformat()
        if isinstance(value, str):
            parse_date(value)
        return value

    @field_validator("chat_template_kwargs")
    @classmethod
    def check_template_arguments(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Refuses arguments of `apply_chat_template` that are not the template's own."""
        if fault := describe_reserved(value):
            raise ValueError(fault)
        return value

    @property
    def moment(self) -> datetime:
        """Returns the moment that a chat template takes for now."""
        return parse_date(self.date)

    @model_validator(mode="after")
    def check_columns(self) -> Self:
        """Refuses a column that is read as two things, or both read and ignored."""
        faults: list[Fault] = []
        settings: dict[str, str] = {}
        for name in ROLE_FEATURES:
            columns = getattr(self, name)
            for column in [columns] if isinstance(columns, str) else columns:
                if column != "auto" and column in settings:
                    faults.append(
                        ((name,), f"{format_value(column)} is data.{settings[column]} already; name another", column)
                    )
                if column in self.ignore_columns:
                    faults.append(
                        (("ignore_columns",), f"{format_value(column)} is data.{name}; take it out of one", column)
                    )
                settings.setdefault(column, name)
        refuse(faults)
        return self


def _resolve_entry(value: Any, folder: Path) -> Any:
    """`data.path`, or one entry of its list."""
    if isinstance(value, list):
        return [_resolve_entry(entry, folder) for entry in value]
    if isinstance(value, SourceSpec):
        return value.model_copy(update={"path": resolve_source(value.path, folder)})
    return resolve_source(value, folder)
