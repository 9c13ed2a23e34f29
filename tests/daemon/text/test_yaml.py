import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefd.daemon.text.parse import parse


def value_of(text: str) -> object:
    return parse(f"a: {text}\n".encode(), ".yaml").value["a"]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-5", 1e-5), ("1E5", 1e5), (".5", 0.5), ("3", 3), ("-3", -3), ("0o17", 15), ("0x1F", 31), ("010", 10),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("no", "no"), ("on", "on"), ("12:30", "12:30"), ("2024-01-01", "2024-01-01"), ("1_000", "1_000"),
        ("'3'", "3"), ('"true"', "true"), ("|-\n  3", "3"), ("1e", "1e"), ("0o9", "0o9"),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema(written: str, value: object) -> None:
    scalar = value_of(written)
    assert scalar == value
    assert type(scalar) is type(value)


def test_every_path_has_its_position() -> None:
    parsed = parse(b"a: 1\nb:\n  c:\n  - d: 2\n    e: 3\n  - [4,\n     5]\nf: {g: 6}\n", ".yaml")
    assert parsed.value == {"a": 1, "b": {"c": [{"d": 2, "e": 3}, [4, 5]]}, "f": {"g": 6}}
    assert parsed.positions["b", "c", 0, "e"] == (5, 5)
    assert parsed.positions["b", "c", 1, 1] == (7, 6)
    assert parsed.positions["f", "g"] == (8, 5)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", max_size=4), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=50)
@given(st.dictionaries(st.text("xyz", min_size=1), JSON, max_size=4).filter(bool))
def test_json_is_yaml(value: dict[str, object]) -> None:
    assert parse(json.dumps(value).encode(), ".yaml").value == value
