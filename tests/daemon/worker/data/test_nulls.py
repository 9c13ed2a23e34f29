"""Tool calls and tools out of tables, whose structs have every key that any row has: padding is dropped, nulls survive, or it is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefd.daemon.worker.data.prepare import DataError
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.source import ModelSource
from support import tiny_model
from support.row_files import write_arrow
from support.tool_rows import (
    AS_JSON,
    LEFT_OUT,
    ONLY_CITY,
    REMEDY,
    Row,
    calling,
    in_any_order,
    jsonl,
    parquet,
    read,
    row,
    texts,
    tool,
    unusable,
)

KEPT = f"keys of tool calls or tools that have no value are kept, as nulls; {REMEDY}"


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        template: loading.tokenizer(ModelSource(str(tiny_model.build_chat(tmp_path_factory.mktemp("model"), template))))
        for template in (AS_JSON, ONLY_CITY)
    }


@pytest.fixture
def tokenizer(tokenizers: dict[str, Any]) -> Any:
    return tokenizers[AS_JSON]


def refusal(path: Path, tokenizer: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, tokenizer)
    return str(caught.value).removeprefix(f"data.path: {path}: ")


def unsure(key: str, part: str = "arguments", function: str = "weather") -> str:
    return (
        f"{key!r} in the {part} of {function} is null or not there, which a table cannot tell and the chat template shows; set "
        "data.nulls: drop where such keys are the table's padding, keep where they are null, or write arguments and schemas "
        "as JSON text (json.dumps) before they become a table"
    )


TWO_FUNCTIONS = [
    row(calling("weather", city="Rome"), calling("search", query="rain", near={"city": "Rome", "km": 5})),
    row(
        calling("search", query="sun", near={"city": "Rome", "km": 1}),
        calling("weather", city="Oslo"),
        question="And sun?",
    ),
]


def test_keys_of_another_function_are_padding_and_said(tmp_path: Path, tokenizer: Any) -> None:
    data = read(parquet(tmp_path / "a.parquet", TWO_FUNCTIONS), tokenizer)
    assert texts(data, tokenizer) == texts(read(jsonl(tmp_path / "a.jsonl", TWO_FUNCTIONS), tokenizer), tokenizer)
    assert texts(data, tokenizer)[0][1] == '<call>weather{"city": "Rome"}</call><|im_end|>'
    assert data.report.train.notes == [f"in 2 rows {LEFT_OUT} (a.parquet row 1, 2)"]


def asking(*units: str | None, few: int = 0) -> list[Row]:
    """A call with each unit, and then `few` with one."""
    return [
        row(
            calling("weather", city="Rome", unit=unit),
            calling("weather", city="Oslo", unit="f"),
            question=f"Rain, {number}?",
        )
        for number, unit in enumerate([*units, *["c"] * few])
    ]


OPTIONAL = asking(None, "c")
CALL = '<call>weather{{"city": "Rome"{}}}</call><|im_end|>'


def test_a_dataset_with_keys_that_may_be_null_or_not_there_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    path = parquet(tmp_path / "a.parquet", OPTIONAL)
    assert refusal(path, tokenizer) == f"{unsure('unit')} (a.parquet row 1)"


def test_a_few_such_rows_are_not_used(tmp_path: Path, tokenizer: Any) -> None:
    rows = asking(None, few=10)
    data = read(parquet(tmp_path / "a.parquet", rows), tokenizer)
    assert unusable(data) == {unsure("unit"): [1]}
    assert [chosen for _, chosen, _ in texts(data, tokenizer)] == [CALL.format(', "unit": "c"')] * 10
    lines = read(jsonl(tmp_path / "a.jsonl", rows), tokenizer)
    assert texts(lines, tokenizer)[0][1] == CALL.format(', "unit": null')
    assert lines.report.train.notes == []


@pytest.mark.parametrize(("nulls", "end", "message"), [("drop", "", LEFT_OUT), ("keep", ', "unit": null', KEPT)])
def test_the_spec_says_what_they_are(tmp_path: Path, tokenizer: Any, nulls: str, end: str, message: str) -> None:
    data = read(parquet(tmp_path / "a.parquet", OPTIONAL), tokenizer, nulls=nulls)
    assert texts(data, tokenizer)[0][1] == CALL.format(end)
    assert data.report.train.notes == [f"in 1 row {message} (a.parquet row 1)"]


def test_the_spec_does_not_make_nulls_of_what_is_padding_for_certain(tmp_path: Path, tokenizer: Any) -> None:
    path = parquet(tmp_path / "a.parquet", TWO_FUNCTIONS)
    assert read(path, tokenizer, nulls="keep").train == read(path, tokenizer).train


def test_it_is_read_where_the_template_shows_neither(tmp_path: Path, tokenizers: dict[str, Any]) -> None:
    tokenizer = tokenizers[ONLY_CITY]
    data = read(parquet(tmp_path / "a.parquet", OPTIONAL), tokenizer)
    assert unusable(data) == {}
    assert texts(data, tokenizer)[0][1:] == ("<call>weatherRome</call><|im_end|>", "<call>weatherOslo</call><|im_end|>")


def test_sides_that_may_differ_in_a_null_are_not_called_identical(tmp_path: Path, tokenizer: Any) -> None:
    rows = [row(calling("weather", city="Rome", unit=None), calling("weather", city="Rome")), *OPTIONAL[1:]]
    assert refusal(parquet(tmp_path / "a.parquet", rows), tokenizer) == f"{unsure('unit')} (a.parquet row 1)"
    assert unusable(read(jsonl(tmp_path / "a.jsonl", rows), tokenizer)) == {}


CITY = {"type": "string", "description": "Where."}
UNIT = {"type": "string", "enum": ["c", "f"]}
TOOLS = [tool("weather", city=CITY, unit=UNIT), tool("search", query={"type": "string"})]


def test_keys_that_a_functions_own_schema_has_not_are_padding(tmp_path: Path, tokenizer: Any) -> None:
    rows = [
        row(calling("search", query="rain"), calling("search", query="sun"), TOOLS),
        row(calling("weather", city="Rome", unit="c"), calling("weather", city="Oslo", unit="f"), TOOLS),
    ]
    data = read(parquet(tmp_path / "a.parquet", rows), tokenizer)
    expected = texts(read(jsonl(tmp_path / "a.jsonl", rows), tokenizer), tokenizer)
    assert [answers for _, *answers in texts(data, tokenizer)] == [answers for _, *answers in expected]
    prompt, _, _ = texts(data, tokenizer)[0]
    assert json.loads(prompt.partition("\n")[0]) == TOOLS
    rows.append(row(calling("weather", city="Rome"), calling("weather", city="Oslo", unit="f"), TOOLS))
    assert refusal(parquet(tmp_path / "a.parquet", rows), tokenizer) == f"{unsure('unit')} (a.parquet row 3)"


def about_weather(city: str, **of_city: Any) -> Row:
    tools = [tool("weather", city=CITY | of_city, unit=UNIT)]
    return row(calling("weather", city="Rome"), calling("weather", city=city), tools)


def test_a_default_of_null_is_unsure_where_another_row_has_one(tmp_path: Path, tokenizer: Any) -> None:
    rows = [about_weather("Oslo", default=None), about_weather("Bern"), about_weather("Oslo", default="Rome")]
    message = refusal(parquet(tmp_path / "a.parquet", rows), tokenizer)
    assert message == f"{unsure('properties.city.default', 'schema')} (a.parquet row 1, 2)"


def test_a_default_of_null_is_kept_where_no_row_has_another(tmp_path: Path, tokenizer: Any) -> None:
    rows = [about_weather("Oslo", default=None), about_weather("Bern", default=None)]
    data = read(parquet(tmp_path / "a.parquet", rows), tokenizer)
    assert texts(data, tokenizer) == texts(read(jsonl(tmp_path / "a.jsonl", rows), tokenizer), tokenizer)
    assert '"default": null' in texts(data, tokenizer)[0][0]
    assert data.report.train.notes == [f"in 2 rows {KEPT} (a.parquet row 1, 2)"]


def test_a_default_that_only_rows_elsewhere_have_is_not_taken_for_null(tmp_path: Path, tokenizer: Any) -> None:
    """A table that was cut out of a larger one keeps its types."""
    tools = [[tool("weather", city=CITY | {"default": "Rome"})], [tool("weather", city=CITY)]]
    rows = [row(calling("weather", city="Rome"), calling("weather", city="Oslo"), each) for each in tools]
    pq.write_table(pa.Table.from_pylist(rows).slice(1), tmp_path / "a.parquet")
    message = refusal(tmp_path / "a.parquet", tokenizer)
    assert message == f"{unsure('properties.city.default', 'schema')} (a.parquet row 1)"


def test_json_text_in_a_table_keeps_its_nulls(tmp_path: Path, tokenizer: Any) -> None:
    tools = [tool("weather", city=CITY | {"default": None})]
    rows = [row(calling("weather", city="Rome", unit=None), calling("weather", city="Oslo"), tools)]
    as_text = json.loads(json.dumps(rows))
    for side in ("chosen", "rejected"):
        function = as_text[0][side][0]["tool_calls"][0]["function"]
        function["arguments"] = json.dumps(function["arguments"])
    as_text[0]["tools"] = json.dumps(tools)
    data = read(parquet(tmp_path / "a.parquet", as_text), tokenizer)
    assert texts(data, tokenizer) == texts(read(jsonl(tmp_path / "a.jsonl", rows), tokenizer), tokenizer)
    assert data.report.train.notes == []


def test_what_datasets_has_saved_is_read_alike(tmp_path: Path, tokenizer: Any) -> None:
    datasets.Dataset.from_list(OPTIONAL).save_to_disk(tmp_path / "saved")
    assert refusal(tmp_path / "saved", tokenizer) == f"{unsure('unit')} (saved row 1)"
    datasets.Dataset.from_list(TWO_FUNCTIONS).save_to_disk(tmp_path / "two")
    assert texts(read(tmp_path / "two", tokenizer), tokenizer) == texts(
        read(jsonl(tmp_path / "a.jsonl", TWO_FUNCTIONS), tokenizer), tokenizer
    )


def test_columns_that_are_no_calls_are_as_before(tmp_path: Path, tokenizer: Any) -> None:
    rows = [
        row([{"role": "assistant", "content": "a"}], [{"role": "assistant", "content": "b"}])
        | {"meta": {"name": "x", "arguments": {"for": "c", "against": against}}, "arguments": {"d": against}}
        for against in ("e", None)
    ]
    data = read(parquet(tmp_path / "a.parquet", rows), tokenizer)
    assert len(data.train) == 2
    assert data.report.train.unread == ["meta", "arguments"]


VALUES = st.one_of(st.none(), st.sampled_from(["Rome", "c", ""]))
ARGUMENTS = {
    "weather": st.fixed_dictionaries({}, optional={"city": VALUES, "unit": VALUES}),
    "search": st.fixed_dictionaries(
        {}, optional={"query": VALUES, "near": st.fixed_dictionaries({}, optional={"city": VALUES, "km": VALUES})}
    ),
}
PLACE = {"type": "object", "properties": {"city": CITY, "km": CITY}}
DESCRIBED = [tool("weather", city=CITY, unit=UNIT), tool("search", query=CITY, near=PLACE)]
CALLS = st.sampled_from(sorted(ARGUMENTS)).flatmap(lambda name: ARGUMENTS[name].map(lambda values: (name, values)))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CALLS, CALLS), min_size=1, max_size=4))
def test_a_row_of_a_table_is_read_as_it_was_written_or_not_at_all(
    tmp_path: Path, tokenizer: Any, calls: list[tuple[Any, Any]]
) -> None:
    rows = [
        row(
            *(calling(name, **call_arguments) for name, call_arguments in pair),
            DESCRIBED,
            question=f"Question {number}?",
        )
        for number, pair in enumerate(calls)
    ]
    try:
        data = read(write_arrow(tmp_path / "a.arrow", rows), tokenizer)  # which has structs without a field, too
    except DataError:
        return
    written = read(jsonl(tmp_path / "a.jsonl", rows), tokenizer)
    expected = {each.row: in_any_order(texts_of) for each, texts_of in zip(written.train, texts(written, tokenizer))}
    for each, texts_of_row in zip(data.train, texts(data, tokenizer)):
        assert in_any_order(texts_of_row) == expected[each.row]
