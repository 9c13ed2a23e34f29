"""Rows with tool calls and tools, in files of lines and in tables, and what a job reads of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.prepare import PreparedData, prepare
from prefd.plugins import formats
from prefd.plugins.types import RowFormat

SHOWS = (
    "{% if tools %}{{ tools | tojson + '\n' }}{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}"
    "{% for c in m.tool_calls or [] %}{{ '<call>' + c.function.name + ARGUMENTS + '</call>' }}{% endfor %}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
AS_JSON = SHOWS.replace("ARGUMENTS", "(c.function.arguments | tojson)")
ONLY_CITY = SHOWS.replace("ARGUMENTS", "c.function.arguments.city")
REMEDY = "where that is wrong, write arguments and schemas as JSON text (json.dumps) before they become a table"
LEFT_OUT = f"keys of tool calls or tools that have no value are left out, as the padding of the table; {REMEDY}"
FORMATS: dict[str, RowFormat] = {}
formats.register_formats(FORMATS.__setitem__)
Row = dict[str, Any]


def calling(name: str, **arguments: Any) -> list[Row]:
    function = {"name": name, "arguments": arguments}
    return [{"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}]


def tool(name: str, **properties: Any) -> Row:
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def row(chosen: list[Row], rejected: list[Row], tools: list[Row] | None = None, question: str = "Rain in Rome?") -> Row:
    table_row = {"prompt": [{"role": "user", "content": question}], "chosen": chosen, "rejected": rejected}
    return table_row if tools is None else table_row | {"tools": tools}


def parquet(path: Path, rows: list[Row]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def jsonl(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def read(path: Path, tokenizer: Any, **spec: Any) -> PreparedData:
    return prepare(DataSpec(path=str(path), validation=0.0, **spec), tokenizer, FORMATS)


def texts(data: PreparedData, tokenizer: Any) -> list[tuple[str, ...]]:
    """Prompt and both answers of each pair."""
    return [
        tuple(
            tokenizer.decode(ids)
            for ids in (
                each.chosen.prompt.tolist(),
                each.chosen.ids[each.chosen.start :].tolist(),
                each.rejected.ids[each.rejected.start :].tolist(),
            )
        )
        for each in data.train
    ]


def unusable(data: PreparedData) -> dict[str, Any]:
    return {reason: list(each.rows) for reason, each in data.report.train.unusable.summarize().items()}


def in_any_order(columns: tuple[str, ...]) -> list[str]:
    """A table has one order of keys for all rows."""
    return ["".join(sorted(text)) for text in columns]
