"""Counts what holds for all pairs together: which side is longer, what the reference thinks, and tokens by source."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.histogram import bin_margins
from prefd.daemon.worker.xray.pair_features import PairFeatures
from prefd.daemon.worker_tasks.xrays import LengthBias, ReferenceView, SourceTokens

LINE = re.compile(r"(:| row )\d+$")
"""The number at the end of a row's place."""


def measure_length_bias(pairs: PairFeatures) -> LengthBias:
    """Measure how far the longer answer is the chosen one."""
    difference = pairs.lengths[:, 0] - pairs.lengths[:, 1]
    longer, shorter = int((difference > 0).sum()), int((difference < 0).sum())
    equal = len(difference) - longer - shorter
    chosen, rejected = pairs.lengths.mean(axis=0)
    return LengthBias(
        longer=longer,
        shorter=shorter,
        equal=equal,
        accuracy=(longer + equal / 2) / len(difference),
        chosen_tokens=float(chosen),
        rejected_tokens=float(rejected),
        histogram=bin_margins(difference, np.empty(0)),
    )


def view_reference(pairs: PairFeatures) -> ReferenceView | None:
    """Say what the reference thinks of the pairs that it has scored; None where there is none."""
    margins = pairs.margin[pairs.is_scored]
    if not margins.size:
        return None
    return ReferenceView(
        pairs=len(margins),
        accuracy=float((margins > 0).mean()),
        mean_accuracy=float((pairs.mean_margin[pairs.is_scored] > 0).mean()),
        margin=float(margins.mean()),
        histogram=bin_margins(margins, np.empty(0)),
    )


def count_source_tokens(examples: Sequence[Example]) -> list[SourceTokens]:
    """Count the tokens of each file or dataset that the rows are from."""
    by_source: defaultdict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_source[LINE.sub("", str(example))].append(example)
    return [
        SourceTokens(
            source=source,
            pairs=len(those),
            prompt=sum(example.chosen.start for example in those),
            chosen=sum(int(example.chosen.own.sum()) for example in those),
            rejected=sum(int(example.rejected.own.sum()) for example in those),
            cut=sum(bool(example.chosen.cut or example.rejected.cut) for example in those),
        )
        for source, those in by_source.items()
    ]
