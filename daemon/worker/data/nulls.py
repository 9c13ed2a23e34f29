"""Settles keys without a value in the tool calls and tools of a table's rows, and notes how each was settled.

Whether two texts are the same is known only where their nulls are: what both sides begin with, identical sides, pairs that
repeat or contradict each other. So the rows are read once to see what the dataset shows of its keys, and once more, settled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.dataset import Dataset
from prefd.daemon.worker.data.rows import Row
from prefd.plugins.formats.evidence import Evidence
from prefd.plugins.formats.fields import read_tools
from prefd.plugins.formats.nulls import NOTHING, Decide, Key, Unsure, decide_row, decided, unsure_keys
from prefd.plugins.types import UnusableRow

DROPPED = "keys of tool calls or tools that have no value are left out, as the padding of the table"
KEPT = "keys of tool calls or tools that have no value are kept, as nulls"
REMEDY = "where that is wrong, write arguments and schemas as JSON text (json.dumps) before they become a table"
Tools = Sequence[Mapping[str, Any]] | None


def read_with_nulls_settled(
    rows: Sequence[Row], spec: DataSpec, read_dataset: Callable[[Sequence[Row]], Dataset]
) -> Dataset:
    """Reads `rows` without the keys that are a table's padding, and with the nulls that somebody wrote.

    Those of which neither is certain are settled as `data.nulls` has them.
    """
    dataset = read_dataset(rows)
    if not any(unsure_keys(pair) for _, pair in dataset.pairs):
        return dataset
    evidence = Evidence.collect(pair for _, pair in dataset.pairs)
    notes = _describe_decisions(dataset, evidence, spec)
    tools = {number: pair.tools for number, pair in dataset.pairs}
    settled = read_dataset(
        [
            row
            if isinstance(row, UnusableRow)
            else decide_row(row, _decide_by(evidence, tools.get(number) or _tools_of(row), spec))
            for number, row in enumerate(rows, 1)
        ]
    )
    settled.notes += notes
    return settled


def _decide_by(evidence: Evidence, tools: Tools, spec: DataSpec) -> Decide:
    def decide(key: Key, value: Unsure) -> Any:
        decision = evidence.decide(tools, key, value)
        return {"drop": NOTHING, "keep": None}.get(spec.nulls, decision) if isinstance(decision, Unsure) else decision

    return decide


def _tools_of(row: Mapping[str, Any]) -> Tools:
    """The tools of a row that gives no pair of its own; None where it has none that can be read."""
    source = row.get("input")
    try:
        return read_tools(row) or (read_tools(source) if isinstance(source, Mapping) else None)
    except UnusableRow:
        return None


def _describe_decisions(dataset: Dataset, evidence: Evidence, spec: DataSpec) -> list[str]:
    """Writes a note for each way in which keys are settled, with the rows that have some."""
    rows: dict[str, dict[int, None]] = {DROPPED: {}, KEPT: {}}
    for number, pair in dataset.pairs:
        decide = _decide_by(evidence, pair.tools, spec)

        def watch(key: Key, value: Unsure, number: int = number, decide: Decide = decide) -> Any:
            decision = decide(key, value)
            if not isinstance(decision, Unsure):
                rows[DROPPED if decision is NOTHING else KEPT][number] = None
            return decision

        decided(pair, watch)
    return [
        f"in {len(numbers)} {'row' if len(numbers) == 1 else 'rows'} {verdict}; {REMEDY} ({dataset.name_rows(list(numbers))})"
        for verdict, numbers in rows.items()
        if numbers
    ]
