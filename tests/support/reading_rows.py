"""Reading rows as a job does, without a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.dataset import Dataset
from prefd.daemon.worker.data.reading import read_dataset
from prefd.plugins import formats
from prefd.plugins.formats.prompt import answer_text
from prefd.plugins.types import Pair, RowFormat
from support.dataset_rows import TRIPLES, Row, user

FORMATS: dict[str, RowFormat] = {}
formats.register_formats(FORMATS.__setitem__)


def read(rows: list[Row], **spec: Any) -> Dataset:
    return read_dataset(rows, DataSpec(path="x", **spec), FORMATS, "ROWS", "data.path")


def texts(dataset: Dataset) -> list[tuple[str, str]]:
    return texts_of_pairs(dataset.pairs)


def texts_of_pairs(pairs: Sequence[tuple[int, Pair]]) -> list[tuple[str, str]]:
    return [(answer_text(pair.chosen).strip(), answer_text(pair.rejected).strip()) for _, pair in pairs]


def as_messages(pair: Pair) -> list[Any]:
    return [user(pair.prompt)] if isinstance(pair.prompt, str) else list(pair.prompt)


def of(*columns: str, **more: Any) -> list[Row]:
    """A row for each triple, with its question, better and worse answer under three names."""
    return [dict(zip(columns, triple)) | more for triple in TRIPLES]
