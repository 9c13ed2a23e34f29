"""Where each value of a text is, in all three formats: what an editor marks when a spec is wrong."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.text.parse import parse
from prefd.daemon.text.parsed import ParseError
from prefd.daemon.text.text_fault import LineStarts, Position, TextFault, locate_faults
from prefd.daemon.text.toml_positions import find_toml_positions

YAML = "model: m\ndata:\n  path:\n  - {path: a}\n  - b\ntraining: {lora: {rank: 8}}\n"
TOML = """# a comment with = and [brackets]
model = "m"
data.path = [
  {path = 'a'},  # [ { "
  "b",
]

[training."lora"]
rank = 8
"text" = \"\"\"
rank = 9 "]\"\"\"
[[runs]]
at = 1979-05-27 07:32:00.5
[[runs]]
each = [[1, 2], [3.5]]
[runs.of]
x = {y.z = 1}
"""
JSON = '{"model": "m",\n "data": {"path": [{"path": "a"},\n  "b"]}, "esc\\"aped": [[1, 2], []],\n "training": {"lora": {"rank": 8}}}'


def list_paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from list_paths(each, (*path, key))


@pytest.mark.parametrize(("text", "suffix"), [(YAML, ".yaml"), (TOML, ".toml"), (JSON, ".json")])
def test_every_value_has_a_position_at_its_key_or_at_itself(text: str, suffix: str) -> None:
    parsed = parse(text.encode(), suffix)
    assert set(parsed.positions) == set(list_paths(parsed.value))
    lines = text.split("\n")
    for path, (line, column) in parsed.positions.items():
        assert column is not None
        rest = lines[line - 1][column - 1 :]
        if isinstance(path[-1], str):
            key = json.dumps(path[-1]) if suffix == ".json" else path[-1]
            assert rest.lstrip('["').startswith(key.lstrip('"')), path


def test_the_positions_are_lines_and_columns_from_one() -> None:
    assert parse(TOML.encode(), ".toml").positions["training", "lora", "rank"] == (9, 1)
    assert parse(TOML.encode(), ".toml").positions["data", "path", 0] == (4, 3)
    assert parse(TOML.encode(), ".toml").positions["runs", 1, "of", "x", "y", "z"] == (17, 8)
    assert parse(JSON.encode(), ".json").positions["data", "path", 1] == (3, 3)
    assert parse(YAML.encode(), ".yaml").positions["training", "lora", "rank"] == (6, 19)


FRAGMENTS = ["a", "b = ", "\n", "1", "[", "]", "{", "}", ",", '"', "'", "#", "=", ".", "[[a]]\n", "[b.a]\n", "x = [", "a.c = {", "'''", '"""', "\\"]  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join))
def test_every_path_of_any_toml_is_found(text: str) -> None:
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(find_toml_positions(text)) == set(list_paths(value))


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_editors_do(ending: str) -> None:
    text = f"a = 1{ending}{ending}é = x"
    assert LineStarts(text).find_position(text.index("x")) == (3, 5)


def test_an_error_of_a_parser_has_its_place_in_parts() -> None:
    faults = {}
    for suffix, text in {".toml": "a = 1\nb = [1,, 2]", ".json": '{"a": 1,\n "a": 2}', ".yaml": "a: 1\nb: {c: 1, c: 2}"}.items():  # fmt: skip
        with pytest.raises(ParseError) as caught:
            parse(text.encode(), suffix)
        faults[suffix] = caught.value.fault
    assert faults[".toml"] == TextFault("Invalid value; text goes in quotes", position=Position(2, 8))
    assert faults[".json"] == TextFault("the key 'a' is given twice", position=Position(2, 2))
    assert faults[".yaml"] == TextFault("the key 'c' is given twice", position=Position(2, 11))
    assert str(faults[".json"]) == "line 2, column 2: the key 'a' is given twice"


def test_what_is_missing_is_placed_at_the_block_that_lacks_it() -> None:
    positions = {("data",): Position(3, 1), ("data", "path", 0): Position(4, 5)}
    located = locate_faults(
        [TextFault("bad", "data.path[0].split"), TextFault("missing", "data.config.x"), TextFault("missing", "model")],
        positions,
    )
    assert list(map(str, located)) == [
        "model: missing",
        "line 3: data.config.x: missing",
        "line 4: data.path[0].split: bad",
    ]
