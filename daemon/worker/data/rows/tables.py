"""Reads Parquet and Arrow files and folders of `datasets.save_to_disk`: tables with types, read batch by batch.

pyarrow is imported where a table is opened, for it takes a while, and most jobs have none.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefd.daemon.worker.data.rows.opened import check_foreign, check_no_json, peek_start
from prefd.daemon.worker.data.rows.placed import DataError, DataFile, Rows
from prefd.plugins.formats.labels import Label
from prefd.plugins.formats.nulls import without_padding

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 1024
STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"
STATE, SPLITS = "state.json", "dataset_dict.json"


def read_parquet(file: DataFile, splits: tuple[str, ...]) -> None:
    """Adds every row of a Parquet file."""
    import pyarrow.parquet as pq

    with _explain_faults(file, "parquet"), pq.ParquetFile(file.path) as table:
        if table.metadata.num_rows:
            add_batches(file, table.iter_batches(BATCH))


def read_arrow(file: DataFile, splits: tuple[str, ...]) -> None:
    """Adds every row of an Arrow file, in the stream format, as `datasets` writes it, or the file format."""
    import pyarrow as pa

    with _explain_faults(file, "arrow"), pa.memory_map(str(file.path)) as source:
        if file.path.stat().st_size == 0:
            return
        if source.read(6) == b"ARROW1":
            table = pa.ipc.open_file(source)
            add_batches(file, map(table.get_batch, range(table.num_record_batches)))
        else:
            source.seek(0)
            add_batches(file, iter(pa.ipc.open_stream(source)))
            source.seek(source.size() - len(STREAM_END))
            if source.read() != STREAM_END:  # pyarrow takes a file cut between two batches for a whole one
                raise file.fault("it ends too early; fetch it again")


def add_batches(file: DataFile, batches: Iterable[pa.RecordBatch]) -> None:
    """Adds every row of a table, as plain values: an image stays the bytes that it is stored as.

    A struct has None for each key that its row has not: those are dropped or marked (`nulls.py`), and none within JSON text.
    """
    number = 0
    for batch in batches:
        if len(set(batch.schema.names)) < len(batch.schema.names):
            raise file.fault(f"two columns have the same name: {', '.join(batch.schema.names)}")
        decoders = {each.name: decode for each in batch.schema if (decode := _decoder(each.type)) is not None}
        nulls, classes = _never_given(batch.schema), _classes(batch.schema.metadata)
        for padded in batch.to_pylist(maps_as_pydicts="strict"):
            row = {name: without_padding(value, nulls.get(name)) for name, value in padded.items()}
            row |= {name: decode(row[name]) for name, decode in decoders.items()}
            row |= {name: _label(row[name], names) for name, names in classes.items() if name in row}
            number += 1
            file.add(row, number, "row")


def _never_given(fields: Iterable[pa.Field]) -> dict[str, Any]:
    """The keys of structs of which the table says by their type that no row has a value there, as `nulls.Nulls`."""
    import pyarrow as pa

    nulls: dict[str, Any] = {}
    for column in fields:
        kind = column.type
        while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
            kind = kind.value_type
        if pa.types.is_null(column.type):
            nulls[column.name] = True
        elif pa.types.is_struct(kind) and (below := _never_given(kind)):
            nulls[column.name] = below
    return nulls


def _classes(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """The names of the classes of each `ClassLabel` column, as `datasets` writes them beside a table."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        class_names = {
            column: feature["names"] for column, feature in features.items() if feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # others write there too
        return {}
    return {column: names for column, names in class_names.items() if isinstance(names, list)}


def _label(cell: Any, names: Sequence[str]) -> Any:
    """A class with its name; -1 is how `datasets` writes none."""
    if not isinstance(cell, int) or cell >= len(names):
        return cell
    return None if cell < 0 else Label(cell, str(names[cell]))


def _decoder(kind: pa.DataType) -> Callable[[Any], Any] | None:
    """Says what turns a cell of this type into what was written: `datasets` keeps what has no one type as JSON text.

    None where there is nothing to turn.
    """
    import pyarrow as pa

    if isinstance(kind, pa.JsonType):
        return lambda cell: json.loads(cell) if isinstance(cell, str) else cell
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        item = _decoder(kind.value_type)
        return item and (lambda cells: [item(each) for each in cells] if isinstance(cells, list) else cells)
    if pa.types.is_struct(kind):
        inner = {each.name: decode for each in kind if (decode := _decoder(each.type)) is not None}
        return (
            (lambda cell: cell and cell | {name: decode(cell[name]) for name, decode in inner.items() if name in cell})
            if inner
            else None
        )
    return None


@contextmanager
def _explain_faults(file: DataFile, kind: str) -> Iterator[None]:
    """Turns pyarrow's errors into what is wrong with the file."""
    with file.path.open("rb") as stream:
        check_foreign(file, peek_start(stream))
        check_no_json(file, peek_start(stream))
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # pyarrow's own, or OSError: each says that the file is not what it should be
        first = str(error).strip().partition("\n")[0].rstrip(".")
        raise file.fault(f"not {'an' if kind == 'arrow' else 'a'} {kind} file that can be read: {first}") from error


def find_saved_splits(folder: Path) -> dict[str, Path] | None:
    """Finds the folder of each split that `datasets.save_to_disk` wrote; None for another folder, "" without splits."""
    if (folder / SPLITS).is_file():
        listed = _read(folder / SPLITS).get("splits")
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise DataError(f"{folder / SPLITS}: it names no splits; save the dataset again")
        return {name: folder / name for name in listed}
    return {"": folder} if isinstance(_files(folder), list) else None


def read_saved(folder: Path, name: str, into: Rows) -> None:
    """Adds the rows of one split that `datasets.save_to_disk` wrote, counted through its files."""
    if not (folder / STATE).is_file():
        raise DataError(f"{folder}: it has no {STATE}; save the dataset again")
    if _read(folder / STATE).get("_indices_data_files"):
        raise DataError(
            f"{folder}: only some of its rows belong to it (_indices_data_files), as old versions of datasets "
            "wrote it; write it with to_parquet()"
        )
    begin = len(into.places)
    for part in _files(folder) or []:
        path = folder / part
        if not path.is_file():
            raise DataError(f"{path}: no such file, though {folder / STATE} names it; save the dataset again")
        read_arrow(DataFile(path, name, into), ())
    into.places[begin:] = [place._replace(number=number) for number, place in enumerate(into.places[begin:], 1)]


def _files(folder: Path) -> list[str] | None:
    """The files that a dataset's state names; None where the folder is not one of `save_to_disk`."""
    if not (folder / STATE).is_file():
        return None
    listed = _read(folder / STATE).get("_data_files")
    if not isinstance(listed, list):
        return None
    names = [entry.get("filename") for entry in listed if isinstance(entry, dict)]
    if not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise DataError(f"{folder / STATE}: its _data_files are not names of files beside it; save the dataset again")
    return [str(name) for name in names]


def _read(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON; save the dataset again") from error
    return value if isinstance(value, dict) else {}
