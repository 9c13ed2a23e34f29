"""Rows out of files, folders and the Hugging Face Hub, each as it stands: no types are inferred.

JSON and CSV are read here, row by row. `datasets` would infer a type for each column: an answer "2020-01-01" becomes a
date, "None" in a CSV file becomes nothing, a line with too many cells shifts every column, and one bad line loses the
file. Parquet files, which carry their types, and Hub datasets go through `datasets`; a local file is never copied into
its cache, so that a changed file is never read stale.
"""

from __future__ import annotations

import csv
import difflib
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefd.daemon.spec import HUB_ID
from prefd.plugins.formats.fields import without_none
from prefd.plugins.formats.messages import decode_row
from prefd.plugins.types import UnusableRow

Row = Mapping[str, Any] | UnusableRow
"""One row by column; or, where the file has something else in its place, why it cannot be used."""

SPLIT_NAMES = {
    "train": {"train", "training"},
    "validation": {"validation", "valid", "val", "dev"},
    "test": {"test", "testing", "eval", "evaluation"},
}
"""What files of a split are called, as in `datasets`."""
SHARD = re.compile(r"(?P<split>.+)-\d{5}-of-\d{5}")
MAX_CELL = 2**27
"""Bytes in one CSV cell; the csv module's own limit of 128 KiB is less than a long answer."""


class DataError(ValueError):
    """The job's data cannot be read or used. The message is shown to the user: value, place and remedy."""


def read_rows(source: str, splits: Sequence[str], revision: str | None = None) -> Iterator[Row]:
    """Every row of a file, of a folder's files in order of name, or of a Hub dataset.

    `splits` are the names of acceptable splits, the best first; a single file has none. Raises `DataError`.
    """
    path = Path(source)
    if path.is_dir():
        for file in files_of(path, splits):
            yield from read_file(file)
    elif path.exists():
        yield from read_file(path)
    elif HUB_ID.match(source):
        yield from _hub_rows(source, splits, revision)
    else:
        raise DataError(f"{source}: no such file or folder{_nearest(path)}")


def read_file(path: Path) -> Iterator[Row]:
    """Every row of one file, read by its suffix. Raises `DataError` where there is none."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: cannot read {path.suffix or 'a file without a suffix'!r}; {SUPPORTED}")
    try:
        empty = True
        for row in reader(path):
            empty = False
            yield row
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if empty:
        raise DataError(f"{path}: the file is empty: it has no rows")


def files_of(folder: Path, splits: Sequence[str]) -> list[Path]:
    """The files of the first of `splits` that `folder` has; all of them are `train` where no name tells of a split."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    names = [name for name in names if not any(part.startswith((".", "_")) for part in name.parts)]
    files = [name for name in names if name.suffix.lower() in READERS]
    if not files:
        found = ", ".join(str(name) for name in names[:5]) or "nothing"
        raise DataError(f"{folder}: no file in this folder can be read (it holds {found}); {SUPPORTED}")
    for split in splits:
        if chosen := [folder / name for name in files if _is_of(name, split)]:
            return chosen
    known = {split for split in SPLIT_NAMES for name in files if _is_of(name, split)}
    if "train" in splits and not known:
        return [folder / name for name in files]
    listed = ", ".join(str(name) for name in files[:5])
    raise DataError(f"{folder}: no file of split {' or '.join(map(repr, splits))} in this folder; it holds {listed}")


def _is_of(name: Path, split: str) -> bool:
    if shard := SHARD.fullmatch(name.stem):
        return shard["split"] == split
    words = re.split(r"[^a-z0-9]+", str(name.with_suffix("")).lower())
    return not SPLIT_NAMES.get(split, {split.lower()}).isdisjoint(words) or name.stem == split


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        yield from _parse_lines(file)


def _parse_lines(lines: Iterator[bytes] | Sequence[bytes]) -> Iterator[Row]:
    for number, line in enumerate(lines):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
        if text.strip():
            yield _parse_line(text)


def _parse_line(line: bytes) -> Row:
    try:
        row = json.loads(line)
    except UnicodeDecodeError:
        return UnusableRow("not UTF-8")
    except (ValueError, RecursionError):
        return UnusableRow("not JSON")
    return row if isinstance(row, dict) else UnusableRow("not a JSON object")


def _json(path: Path) -> Iterator[Row]:
    """A list of objects; or one object a line, which many call .json as well."""
    data = path.read_bytes()
    if not data.strip():
        return
    try:
        rows = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    except RecursionError as error:
        raise DataError(f"{path}: not JSON that can be read: nested too deeply") from error
    except ValueError as error:
        lines = data.splitlines()
        if isinstance(_parse_line(lines[0]), dict):
            yield from _parse_lines(lines)
            return
        raise DataError(f"{path}: not JSON: {error}; write a list of objects, or one object a line") from error
    for row in rows if isinstance(rows, list) else [rows]:
        yield row if isinstance(row, dict) else UnusableRow("not a JSON object")


def _csv(path: Path) -> Iterator[Row]:
    """Every cell is text; one that holds the JSON of chat messages is those messages."""
    csv.field_size_limit(MAX_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, None)
            if header is None:
                return
            if len(set(header)) < len(header):
                raise DataError(f"{path}: two columns have the same name: {', '.join(header)}")
            for cells in reader:
                if not cells:
                    continue
                if len(cells) == len(header):
                    yield decode_row(dict(zip(header, cells)))
                else:
                    yield UnusableRow(f"not as many cells as the header's {len(header)}")
    except csv.Error as error:
        raise DataError(f"{path}: not CSV at line {reader.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason}); save the file as UTF-8") from error


def _unpadded(row: Mapping[str, Any]) -> Row:
    """A row of columnar data, whose structs have None for each key that the row itself has not."""
    return {name: without_none(value) for name, value in row.items()}


def _parquet(path: Path) -> Iterator[Row]:
    import datasets  # takes a second, and most jobs need it not

    try:
        # Streamed, so that nothing is copied; what locks it makes all the same lie in a folder that goes away.
        with tempfile.TemporaryDirectory(prefix="prefd-") as cache:
            rows = datasets.load_dataset(
                "parquet", data_files=str(path), split="train", streaming=True, cache_dir=cache
            )
            yield from map(_unpadded, rows)
    except Exception as error:  # pyarrow's, fsspec's or datasets' own: each says that the file is not what it should be
        raise DataError(f"{path}: not a parquet file that can be read: {_first_line(error)}") from error


def _hub_rows(name: str, splits: Sequence[str], revision: str | None) -> Iterator[Row]:
    import datasets

    datasets.disable_progress_bars()  # their carriage returns make one endless line of the job's log
    errors: list[Exception] = []
    for split in splits:
        try:
            rows = datasets.load_dataset(name, split=split, revision=revision)
        except Exception as error:  # noqa: BLE001 -- of datasets, huggingface_hub, httpx or fsspec; shown below
            errors.append(error)
            if not isinstance(error, ValueError):
                break  # not an unknown split: no other will be found, and each try without a network takes 25 s
        else:
            yield from map(_unpadded, rows)
            return
    raise DataError(
        f"{name}: there is no file or folder of that name, and it could not be loaded from the Hugging Face Hub "
        f"(split {' or '.join(map(repr, splits))}{f', revision {revision}' if revision else ''}): "
        f"{_first_line(errors[-1])}. Check the name, the split and the network (HF_HUB_OFFLINE), "
        f"log in with `hf auth login` if it is gated, or give a local file"
    ) from errors[-1]


def _first_line(error: Exception) -> str:
    """The first line of the error that was behind `error`."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")


def _nearest(path: Path) -> str:
    try:
        beside = [other.name for other in path.parent.iterdir()]
    except OSError:
        return f" (there is no folder {path.parent} either)"
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _csv,
    ".parquet": _parquet,
}
SUPPORTED = "give a .jsonl, .json, .csv or .parquet file, a folder of them, or a Hugging Face dataset id"
