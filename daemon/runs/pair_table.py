"""Writes and reads the table of a job's scored pairs, a parquet file that any tool of data opens; of a page only its own rows are read.

It is a module of its own because it imports pyarrow, which the daemon does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from prefd.cache.segments.durable import flush, whole_file
from prefd.daemon.runs.pair_answers import PairsHead, PairsOrder, PairsPage, PairsPart, PairsState, ScoredPair
from prefd.daemon.runs.pair_files import PairFiles

ROWS_OF_A_GROUP = 512
NUMBERS = (
    "margin", "loss", "chosen", "rejected", "chosen_logps", "rejected_logps", "chosen_ref", "rejected_ref",
)  # fmt: skip
SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),
        pa.field("place", pa.string()),
        pa.field("held_out", pa.bool_()),
        pa.field("pair", pa.string()),
        *(pa.field(name, pa.float64()) for name in NUMBERS),
        *(pa.field(f"{name}_tokens", pa.int32()) for name in ("prompt", "chosen", "rejected")),
        *(pa.field(name, pa.string()) for name in ("prompt", "chosen_text", "rejected_text")),
    ]
)


def write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write `rows`, by the names of SCHEMA, to `path`, whole and on disk or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with whole_file(path, partial) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        group: list[Mapping[str, Any]] = []
        for row in rows:
            group.append(row)
            if len(group) == ROWS_OF_A_GROUP:
                writer.write_table(pa.Table.from_pylist(group, SCHEMA))
                group = []
        if group:
            writer.write_table(pa.Table.from_pylist(group, SCHEMA))
    flush(path.parent)


def read_page(
    files: PairFiles,
    state: PairsState,
    order: PairsOrder = "margin",
    only: Sequence[PairsPart] = (),
    offset: int = 0,
    limit: int | None = 20,
) -> PairsPage:
    """Read a page of the pairs that are of all parts in `only`; `limit` None: all of them. Without a table it has none."""
    head = files.read_head()
    if head is None:
        return PairsPage(**dict(state), head=None, wrong=None, total=0, pairs=[])
    table = pq.ParquetFile(files.table)
    places = _select(table, order, only)
    page = places[offset : None if limit is None else offset + limit]
    pairs = [_make_pair(row) for row in _read_rows(table, page)]
    return PairsPage(**dict(state), head=head, wrong=head.wrong, total=len(places), pairs=pairs)


def read_margins(files: PairFiles) -> tuple[PairsHead, list[dict[str, Any]]] | None:
    """Read, for a comparison, each pair's digest, place and margin; None where nothing was scored."""
    head = files.read_head()
    if head is None:
        return None
    columns = ["pair", "row", "place", "held_out", "margin", "prompt"]
    return head, pq.ParquetFile(files.table).read(columns).to_pylist()


def is_wrong(margin: float) -> bool:
    """Say whether a pair of this margin is the wrong way round: where the two are equal, or it is no number, it is."""
    return not margin > 0


def _select(table: pq.ParquetFile, order: PairsOrder, only: Sequence[PairsPart]) -> npt.NDArray[np.int64]:
    """Select the places, in the table, of the pairs of all parts in `only`, sorted."""
    columns = {
        name: column.to_numpy(zero_copy_only=False)
        for name, column in zip(
            ("margin", "loss", "held_out"), table.read(["margin", "loss", "held_out"]).combine_chunks().columns
        )
    }
    margins = columns["margin"]
    masks = {"wrong": ~(margins > 0), "held_out": columns["held_out"], "train": ~columns["held_out"]}
    chosen = np.ones(len(margins), bool)
    for part in only:
        chosen &= masks[part]
    keys = {
        "margin": np.where(np.isnan(margins), -np.inf, margins),
        "best": -np.where(np.isnan(margins), -np.inf, margins),
        "loss": -np.where(np.isnan(columns["loss"]), np.inf, columns["loss"]),
        "row": np.arange(len(margins)),
    }
    ordered = np.argsort(keys[order], kind="stable")
    return ordered[chosen[ordered]]


def _read_rows(table: pq.ParquetFile, places: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """Read the rows at `places`, in their order; of the file only the groups that hold one."""
    groups: dict[int, Any] = {}
    for number in sorted({int(place) // ROWS_OF_A_GROUP for place in places}):
        groups[number] = table.read_row_group(number)
    rows = []
    for place in places:
        group, index = divmod(int(place), ROWS_OF_A_GROUP)
        rows.append(groups[group].slice(index, 1).to_pylist()[0])
    return rows


def _make_pair(row: Mapping[str, Any]) -> ScoredPair:
    numbers = {name: _drop_nonfinite(row[name]) for name in NUMBERS}
    has_reference = row["chosen_ref"] is not None
    return ScoredPair(
        row=row["row"],
        place=row["place"],
        held_out=row["held_out"],
        margin=numbers["margin"],
        loss=numbers["loss"],
        chosen=numbers["chosen"],
        rejected=numbers["rejected"],
        logps={"chosen": numbers["chosen_logps"], "rejected": numbers["rejected_logps"]},
        ref={"chosen": numbers["chosen_ref"], "rejected": numbers["rejected_ref"]} if has_reference else None,
        tokens={name: row[f"{name}_tokens"] for name in ("prompt", "chosen", "rejected")},
        prompt=row["prompt"],
        chosen_text=row["chosen_text"],
        rejected_text=row["rejected_text"],
        pair=row["pair"],
    )


def _drop_nonfinite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
