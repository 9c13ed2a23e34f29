"""Reads every row of one source, be it a file, a folder, a dataset saved to disk, or one on the hub."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from prefd.daemon.specs.data_files import METADATA, SUPPORTED, suffix_of
from prefd.daemon.specs.data_sources import Source
from prefd.daemon.specs.path_or_hub_id import HUB_ID
from prefd.daemon.worker.data.rows.csv_text import read_csv, read_tsv
from prefd.daemon.worker.data.rows.folder import find_files
from prefd.daemon.worker.data.rows.hub import read_hub
from prefd.daemon.worker.data.rows.json_text import read_json, read_json_lines
from prefd.daemon.worker.data.rows.placed import DataError, DataFile, Rows
from prefd.daemon.worker.data.rows.splits import quote_names, suggest_split
from prefd.daemon.worker.data.rows.tables import find_saved_splits, read_arrow, read_parquet, read_saved

Reader = Callable[[DataFile, tuple[str, ...]], None]
READERS: dict[str, Reader] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
}
"""The reader of a file, by its suffix without that of a compression."""


def read_rows(source: Source, name: str = "") -> Rows:
    """Reads every row of `source`, in the order of its files. Raises `DataError`.

    `name` is put before the names of a folder's files, where several datasets are read.
    """
    rows = Rows()
    path = source.local
    if path is None:
        if not HUB_ID.match(source.path):
            raise DataError(f"{source.path}: no such file or folder{_nearest(Path(source.path))}")
        read_hub(source, rows)
    elif path.is_dir():
        _read_folder(source, path, f"{name}/" if name else "", rows)
    elif path.exists():
        _read_one(source, path, name, rows)
    else:
        raise DataError(f"{path}: no such folder in the dataset (data_dir){_nearest(path)}")
    return rows


def _read_one(source: Source, path: Path, name: str, rows: Rows) -> None:
    """Reads a file; only one that holds its splits by name has a split to choose."""
    if path.name.lower() in METADATA:
        raise DataError(f"{path}: it describes a dataset, and has no rows; give the folder that it lies in")
    file = DataFile(path, name or path.name, rows, source.split_key)
    read_file(file, source.splits)
    if file.split:
        return
    if source.key == "data.validation_split":
        raise file.fault(
            f"it is one file, without a split {source.splits[0]!r} in it; give data.validation the path of other pairs"
        )
    if source.key.startswith("data.path") and source.splits != ("train",):
        file.note(f"it is one file, of which all is read: the split {source.splits[0]!r} means nothing there")


def read_file(file: DataFile, splits: tuple[str, ...]) -> None:
    """Adds every row of one file, read by its suffix. Raises `DataError` where there is none."""
    suffix = suffix_of(file.path)
    plain = suffix.rpartition(".")[0] if suffix.count(".") > 1 else suffix
    reader = READERS.get(plain)
    if reader is None or (plain != suffix and plain in (".parquet", ".arrow")):
        raise file.fault(f"cannot read {suffix or 'a file without a suffix'!r}; {SUPPORTED}")
    row_count_before = len(file.into.rows)
    try:
        reader(file, splits)
    except OSError as error:
        raise file.fault(f"cannot be read: {error.strerror or error}") from error
    if len(file.into.rows) == row_count_before:
        raise file.fault("the file is empty: it has no rows")


def _read_folder(source: Source, folder: Path, prefix: str, rows: Rows) -> None:
    if (saved_folders := find_saved_splits(folder)) is not None:
        _read_saved(source, folder, prefix, saved_folders, rows)
        return
    try:
        files, notes = find_files(folder, source.splits, source.split_key)
    except OSError as error:
        raise DataError(f"{error.filename or folder}: cannot be read: {error.strerror or error}") from error
    rows.notes += [f"{prefix.rstrip('/') or folder.name}: {note}" for note in notes]
    for file in files:
        read_file(DataFile(file, prefix + str(file.relative_to(folder)), rows, source.split_key), source.splits)


def _read_saved(source: Source, folder: Path, prefix: str, saved_folders: dict[str, Path], rows: Rows) -> None:
    """Reads a saved dataset: all of a Dataset, and of a DatasetDict the first of the source's splits that it has."""
    row_count_before = len(rows.rows)
    if "" in saved_folders:
        if source.key == "data.validation_split":
            raise DataError(
                f"{folder}: a dataset that was saved without splits; give data.validation the path of other pairs"
            )
        read_saved(folder, prefix.rstrip("/") or folder.name, rows)
        if source.key.startswith("data.path") and source.splits != ("train",):
            rows.notes.append(f"{folder.name}: saved without splits: {source.splits[0]!r} means nothing there")
    else:
        split = next((split for split in source.splits if split in saved_folders), None)
        if split is None:
            listed, remedy = (
                ", ".join(saved_folders) or "none",
                suggest_split(list(saved_folders), source.splits, source.split_key),
            )
            raise DataError(f"{folder}: no split {quote_names(source.splits)} was saved, but {listed}; {remedy}")
        read_saved(saved_folders[split], prefix + split, rows)
        if other_splits := [name for name in saved_folders if name != split]:
            rows.notes.append(f"{folder.name}: the split {split} is read, and not {', '.join(other_splits)}")
    if len(rows.rows) == row_count_before:
        raise DataError(f"{folder}: the dataset is empty: it has no rows")


def _nearest(path: Path) -> str:
    try:
        names_beside = [path_beside.name for path_beside in path.parent.iterdir()]
    except OSError:
        return f" (there is no folder {path.parent} either)"
    nearest_names = difflib.get_close_matches(path.name, names_beside, n=1)
    return f"; did you mean {path.parent / nearest_names[0]}?" if nearest_names else ""
