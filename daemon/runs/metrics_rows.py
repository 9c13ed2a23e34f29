"""`read_metrics_rows` reads what training logged; `read_last_rows` reads only the end of it, however long it is.

A long run logs hundreds of megabytes. Its end is read block by block, and a block that holds no row that is looked for is not
parsed: rows of evaluations may lie far apart.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from prefd.daemon.runs.run_folder import RunDir, is_evaluation, parse_row
from prefd.plugins.metrics import EVAL

Row = dict[str, Any]
BLOCK = 1 << 18
MARK = f'"{EVAL}'.encode()
"""The bytes that each row of an evaluation holds, and hardly any other."""


def read_metrics_rows(run: RunDir) -> tuple[list[Row], list[Row]]:
    """Read the rows of training, and those of the evaluations on the held-out pairs."""
    train: list[Row] = []
    evals: list[Row] = []
    for row in run.read_metrics():
        (evals if is_evaluation(row) else train).append(row)
    return train, evals


def read_last_rows(
    run: RunDir, count: int, evaluations: bool = True, block: int = BLOCK
) -> tuple[list[Row], list[Row]]:
    """Read the last `count` rows of training, and as many of the evaluations; without `evaluations`, none are looked for.

    `block`: the bytes that are read at a time.
    """
    train: list[Row] = []
    evals: list[Row] = []
    try:
        with run.metrics.open("rb") as file:
            for lines in _read_back(file, block):
                if len(train) >= count and MARK not in lines:
                    continue
                for line in reversed(lines.split(b"\n")):
                    if (MARK in line or len(train) < count) and (row := parse_row(line)) is not None:
                        (evals if is_evaluation(row) else train).append(row)
                if len(train) >= count and (len(evals) >= count or not evaluations):
                    break
    except FileNotFoundError:
        pass
    return train[:count][::-1], evals[:count][::-1]


def _read_back(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield the lines of a file in blocks of whole lines, the last block first."""
    position = file.seek(0, os.SEEK_END)
    rest = b""
    while position > 0:
        start = max(position - size, 0)
        file.seek(start)
        block = file.read(position - start) + rest
        position = start
        cut = block.find(b"\n") + 1 if start else 0
        if start and not cut:  # a line that is longer than a block
            rest = block
            continue
        rest = block[:cut]
        yield block[cut:]
