import json

from prefd.daemon.text.json_output import SCHEMA, compact, document


def test_the_schemas_number_comes_first() -> None:
    assert list(document({"jobs": []})) == ["schema", "jobs"]
    assert document({})["schema"] == SCHEMA == 1


def test_what_json_has_not_is_null_at_any_depth() -> None:
    value = {"a": [float("nan"), {"b": float("inf")}, (1, -float("inf"))], "c": 0.5}
    expected = {"a": [None, {"b": None}, [1, None]], "c": 0.5}
    assert document(value) == {"schema": 1, **expected}
    assert json.loads(compact(value)) == expected


def test_one_line_of_json_holds_any_text() -> None:
    text = 'two\nlines\r "quoted" é \u2028 \udcff'
    line = compact({"text": text})
    assert b"\n" not in line
    assert b"\r" not in line
    assert json.loads(line) == {"text": text}
