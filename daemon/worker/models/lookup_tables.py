"""Checks tokens and positions against the tables that a model looks them up in.

MLX checks no index: one behind a table's end reads foreign memory. So ids and lengths are checked against the tables' rows
before anything is scored, as the safetensors headers have them: a config's `vocab_size` is not always what the embedding has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn

from prefd.daemon.worker.data.prepare import PreparedData
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.source import ModelSource, read_headers

TOKEN_TABLE = re.compile(
    r"(^|\.)(embed_tokens|wte|tok_embeddings|token_embeddings|word_embeddings|embed_in|embeddings?|embed)\.weight$"
)
HEAD_TABLE = re.compile(r"(^|\.)(lm_head|embed_out|output)\.weight$")
POSITION_TABLE = re.compile(r"(^|\.)(wpe|position_embeddings|embed_positions)(\.weight)?$")
OTHER_PARTS = re.compile(r"(^|[._])(vision|visual|audio|image|patch|talker|encoder|layers|h|blocks|mtp)[._]")
"""Parts of a model with tables of their own, which no text goes through, by their names."""
POSITION_SETTINGS = ("n_positions", "n_ctx", "max_position_embeddings")


@dataclass(frozen=True)
class Tables:
    """Tables says how many rows each table has; None where the model has none of its kind, or none that was recognised."""

    tokens: int | None
    positions: int | None
    positions_name: str
    made_for: int | None
    """Positions that a model without a table of them was made for."""

    @classmethod
    def read(cls, source: ModelSource, local_only: bool = False) -> Tables:
        """Read the sizes from the headers and the config of `source`; no tensor is loaded.

        With `local_only` no weights are downloaded for it: the tables of a model that is not on this machine are unknown.
        """
        config = source.config()
        text = config.get("text_config")
        settings = {**(text if isinstance(text, dict) else {}), **config}
        made_for = _as_int(settings.get("max_position_embeddings"))
        if local_only and not source.has_weights:
            return cls(None, None, "", made_for)
        rows = {name: header["shape"][0] for name, header in read_headers(source).items() if header.get("shape")}
        rows = {name: count for name, count in rows.items() if not OTHER_PARTS.search(name)}
        tokens = [count for kind in (TOKEN_TABLE, HEAD_TABLE) if (count := _count_main_rows(rows, kind)) is not None]
        vocabulary = min(tokens, default=_as_int(settings.get("vocab_size")))
        if (positions := _count_main_rows(rows, POSITION_TABLE)) is None:
            return cls(vocabulary, None, "", made_for)
        return cls(
            vocabulary,
            positions,
            next((name for name in POSITION_SETTINGS if config.get(name) == positions), "its table"),
            None,
        )


def _count_main_rows(rows: dict[str, int], kind: re.Pattern[str]) -> int | None:
    names = sorted((name for name in rows if kind.search(name)), key=len)
    return rows[names[0]] if names else None


def _as_int(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def check_tables(
    data: PreparedData, sources: Iterable[ModelSource], tokenizer: Any, max_length: int, local_only: bool = False
) -> list[str]:
    """Check every pair, and return what the owner should know of lengths, a line each.

    Raises `JobError` for a token or a position that a model lacks.

    `local_only`: as in `Tables.read`.
    """
    notes: dict[str, None] = {}
    for source in sources:
        tables = Tables.read(source, local_only)
        if tables.tokens is None and (not local_only or source.has_weights):
            notes[
                f"{source.model} has no table of tokens that is known by its name: token ids are not checked against it"
            ] = None
        for example, place in _list_with_places(data):
            _check_tokens(example, place, tables, source, tokenizer)
            _check_positions(example, place, tables, source, max_length)
        limit = tables.made_for
        if limit is not None and (
            longer := sum(_measure_longest(example) > limit for example, _ in _list_with_places(data))
        ):
            notes[
                f"{longer} pair{'s' if longer > 1 else ''} of more than {limit} tokens, which is what {source.model} was made "
                f"for (max_position_embeddings); to cut them there, set data.max_length to {limit}"
            ] = None
    return list(notes)


def _list_with_places(data: PreparedData) -> Iterator[tuple[Example, str]]:
    """List each example with its place in the data."""
    yield from ((example, str(example)) for example in data.train)
    prefix = "" if data.report.validation is None else "held-out "
    yield from ((example, f"{prefix}{example}") for example in data.held_out)


def _check_tokens(example: Example, place: str, tables: Tables, source: ModelSource, tokenizer: Any) -> None:
    for side in (example.chosen, example.rejected):
        if tables.tokens is None or int(side.ids.max()) < tables.tokens:
            continue
        token = int(side.ids[side.ids >= tables.tokens][0])
        raise JobError(
            f"{place}: token {tokenizer.decode([token], skip_special_tokens=False)!r} (id {token}) is not in the model's "
            f"vocabulary of {tables.tokens} ({source.model}); resize the model or take the token out of the tokenizer"
        )


def _check_positions(example: Example, place: str, tables: Tables, source: ModelSource, max_length: int) -> None:
    longest = _measure_longest(example)
    if tables.positions is not None and longest > tables.positions:
        raise JobError(
            f"{place} has {longest} tokens: data.max_length is {max_length} and the model has {tables.positions} positions "
            f"({tables.positions_name}, {source.model}): set it to {tables.positions}"
        )


def _measure_longest(example: Example) -> int:
    return max(len(example.chosen), len(example.rejected))


class BoundedEmbedding(nn.Embedding):
    """BoundedEmbedding is a table of positions that padding, which runs on behind the last token, cannot read past the end of."""

    def __call__(self, x: mx.array) -> mx.array:
        """Look up positions, those behind the end as the last one."""
        return _look_up_bounded(super(), self, x)


class BoundedQuantizedEmbedding(nn.QuantizedEmbedding):
    """BoundedQuantizedEmbedding is a quantized table of positions that padding cannot read past the end of."""

    def __call__(self, x: mx.array) -> mx.array:
        """Look up positions, those behind the end as the last one."""
        return _look_up_bounded(super(), self, x)


def _look_up_bounded(table: Any, module: Any, positions: mx.array) -> mx.array:
    rows: mx.array = table.__call__(mx.clip(positions, 0, module["weight"].shape[0] - 1))
    return rows


def bound_positions(model: nn.Module) -> None:
    """Keep `model` from looking up positions that its table lacks."""
    for name, module in model.named_modules():
        if not POSITION_TABLE.search(name):
            continue
        if type(module) is nn.Embedding:
            module.__class__ = BoundedEmbedding
        elif type(module) is nn.QuantizedEmbedding:
            module.__class__ = BoundedQuantizedEmbedding
