"""Scored pairs as a worker leaves them in a job's folder, made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from prefd.daemon.home.layout import Home
from prefd.daemon.runs.pair_answers import PairsHead
from prefd.daemon.runs.pair_files import PairFiles
from prefd.daemon.runs.pair_table import NUMBERS, write_table
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.worker.histogram import bin_margins
from prefd.daemon.worker.pair_scoring import summarize


def write_pairs(home: Home, job: int, margins: list[float], names: list[str] | None = None) -> None:
    """What a worker leaves of pairs of these margins, the last of which is held out."""
    files = PairFiles(RunDir(home.job(job)))
    files.folder.mkdir(exist_ok=True)

    def rows() -> Iterator[dict[str, Any]]:
        for row, margin in enumerate(margins, 1):
            numbers = dict.fromkeys(NUMBERS, 0.5) | {"margin": margin}
            texts = {
                "prompt": f"Question {row}?",
                "chosen_text": f"Good {row}.\nYes.",
                "rejected_text": f"Bad {row} [b].",
            }
            tokens = {"prompt_tokens": 3, "chosen_tokens": 4, "rejected_tokens": 5}
            name = (names or [f"pair {each}" for each in range(1, 9)])[row - 1]
            yield {
                "row": row,
                "place": f"pairs.jsonl:{row}",
                "held_out": row == len(margins),
                "pair": name,
                **numbers,
                **texts,
                **tokens,
            }

    columns = {name: np.array(margins) for name in ("margin", "loss")}
    write_table(files.table, rows())
    files.write_head(
        PairsHead(
            scored_at_step=12,
            scored_at=1.0,
            compares_with="org/model",
            train=summarize({name: column[:-1] for name, column in columns.items()}),
            held_out=summarize({name: column[-1:] for name, column in columns.items()}),
            histogram=bin_margins(columns["margin"], np.empty(0)),
            not_finite=sum(not np.isfinite(margin) for margin in margins),
            notes=["a remark"],
        )
    )
