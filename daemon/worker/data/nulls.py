"""Settles keys without a value in the tool calls and tools of a table's rows, and notes how each was settled."""

from __future__ import annotations

from typing import Any

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.dataset import Dataset
from prefd.plugins.formats.nulls import NOTHING, Evidence, Key, Unsure, decided, unsure_keys
from prefd.plugins.types import Pair

DROPPED = "keys of tool calls or tools that have no value are left out, as the padding of the table"
KEPT = "keys of tool calls or tools that have no value are kept, as nulls"
REMEDY = "where that is wrong, write arguments and schemas as JSON text (json.dumps) before they become a table"


def settle_nulls(dataset: Dataset, spec: DataSpec) -> None:
    """Drops the keys that are a table's padding, and keeps the nulls that somebody wrote.

    Those of which neither is certain are settled as `data.nulls` has them.
    """
    if not any(unsure_keys(pair) for _, pair in dataset.pairs):
        return
    evidence = Evidence.of(pair for _, pair in dataset.pairs)
    rows: dict[str, dict[int, None]] = {DROPPED: {}, KEPT: {}}
    for place, (number, pair) in enumerate(dataset.pairs):
        settled_pair, verdicts = _settle(pair, evidence, spec)
        dataset.pairs[place] = number, settled_pair
        for verdict in verdicts:
            rows[verdict][number] = None
    for verdict, numbers in rows.items():
        if numbers:
            count = f"{len(numbers)} {'row' if len(numbers) == 1 else 'rows'}"
            dataset.notes.append(f"in {count} {verdict}; {REMEDY} ({dataset.name_rows(list(numbers))})")


def _settle(pair: Pair, evidence: Evidence, spec: DataSpec) -> tuple[Pair, set[str]]:
    """Settles the keys of `pair`, and gives which of the two verdicts there were."""
    verdicts = set[str]()

    def decide(key: Key, value: Unsure) -> Any:
        decision = evidence.decide(pair, key, value)
        if isinstance(decision, Unsure):
            decision = {"drop": NOTHING, "keep": None}.get(spec.nulls, decision)
        if not isinstance(decision, Unsure):
            verdicts.add(DROPPED if decision is NOTHING else KEPT)
        return decision

    return decided(pair, decide), verdicts
