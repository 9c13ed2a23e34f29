"""Reads rows of a dataset on the Hugging Face Hub, and turns the errors of `datasets` into what to write in the spec."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from prefd.daemon.specs.data_sources import Source
from prefd.daemon.worker.data.rows.placed import DataError, DataFile, Rows
from prefd.daemon.worker.data.rows.splits import quote_names, suggest_split
from prefd.daemon.worker.data.rows.tables import BATCH, add_batches

SPLITS = re.compile(r"(Unknown split .*Should be one of|Bad split: .*Available splits:) (?P<names>\[.*\])", re.DOTALL)
CONFIGS = re.compile(r"(available configs: |not found\. Available: )(?P<names>\[.*?\])", re.DOTALL)


def read_hub(source: Source, into: Rows) -> None:
    """Adds every row of the first of the source's splits that the dataset has. Raises `DataError`."""
    import datasets  # takes a second, and most jobs need it not

    datasets.disable_progress_bars()  # their carriage returns make one endless line of the job's log
    errors: list[Exception] = []
    for split in source.splits:
        try:
            rows = datasets.load_dataset(
                source.path, source.config, data_dir=source.data_dir, split=split, revision=source.revision
            )
        except Exception as error:  # noqa: BLE001 -- of datasets, huggingface_hub, httpx or fsspec; shown below
            errors.append(error)
            if not isinstance(error, ValueError) or CONFIGS.search(str(error)):
                break  # not an unknown split: no other will be found, and each try without a network takes 25 s
        else:
            _add(source, split, rows, into)
            return
    raise _refused(source, errors[-1]) from errors[-1]


def _add(source: Source, split: str, rows: Any, into: Rows) -> None:
    """Rows are numbered in their split: on the hub there are no files with lines."""
    tables = rows.with_format("arrow").iter(
        BATCH
    )  # and not as `datasets` decodes them, which needs Pillow for an image
    batches = (batch for table in tables for batch in table.to_batches())
    add_batches(DataFile(Path(source.path), f"{source.path}[{split}]", into), batches)


def _refused(source: Source, error: Exception) -> DataError:
    split_names = quote_names(source.splits)
    if names := _names(SPLITS, error):
        problem = f"it has no split {split_names}, but {', '.join(names)}; {suggest_split(names, source.splits, source.split_key)}"
    elif names := _names(CONFIGS, error):
        subset_hint = f"no subset {source.config!r}, but" if source.config else "several subsets:"
        problem = f"it has {subset_hint} {', '.join(names)}; name one: {source.config_key}: {names[0]}"
    else:
        where = f", revision {source.revision}" if source.revision else ""
        return DataError(
            f"{source.path}: there is no file or folder of that name, and it could not be loaded from the Hugging Face Hub "
            f"(split {split_names}{where}): {_first_line(error)}. Check the name, the split and the network (HF_HUB_OFFLINE), "
            f"log in with `hf auth login` if it is gated, or give a local file"
        )
    return DataError(f"{source.path}: {problem}")


def _names(pattern: re.Pattern[str], error: Exception) -> list[str]:
    """The list of names in the message of `datasets`, if that is the error."""
    match = pattern.search(str(error))
    try:
        names = ast.literal_eval(match["names"]) if match else []
    except (ValueError, SyntaxError):
        return []
    return [str(name) for name in names]


def _first_line(error: BaseException) -> str:
    """The first line of the error that was behind `error`."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    return (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".")
