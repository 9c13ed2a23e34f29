import time
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.text.parse import PARSERS, parse
from prefd.daemon.text.parsed import MAX_BYTES, ParseError


def message(text: str | bytes, suffix: str) -> str:
    with pytest.raises(ParseError) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), suffix)
    text_of_error = str(caught.value)
    assert "\n" not in text_of_error
    assert len(text_of_error) < 400
    return text_of_error


def test_the_three_formats_give_the_same_values() -> None:
    expected = {"model": "m", "loss": {"beta": 1e-5, "flags": [True, 3]}}
    assert parse(b"model: m\nloss:\n  beta: 1e-5\n  flags: [true, 3]\n", ".yaml").value == expected
    assert parse(b'model = "m"\n[loss]\nbeta = 1e-5\nflags = [true, 3]\n', ".toml").value == expected
    assert parse(b'{"model": "m", "loss": {"beta": 1e-5, "flags": [true, 3]}}', ".json").value == expected


@pytest.mark.parametrize(
    ("text", "suffix", "expected"),
    [
        ("", ".yaml", "the file is empty: a spec needs at least `model` and `data.path`"),
        (" \n\t\n", ".json", "the file is empty: a spec needs at least `model` and `data.path`"),
        ("# only a comment\n", ".yaml", "the file has no values: a spec needs at least `model` and `data.path`"),
        (b"\x89PNG\r\n\x1a\n", ".yaml", "not UTF-8 text (byte 0x89 at offset 0): is it a binary file?"),
        ("a: 1\nb: \0", ".yaml", "line 2, column 4: a NUL character: is it a binary file?"),
        ("a: 1\nb: \x07", ".yaml", "line 2, column 4: a character that YAML does not allow: is it a binary file?"),
        ("a: {b: 1, c", ".yaml", "line 1, column 12: expected ',' or '}', but got '<stream end>'; is the file cut short?"),
        ("a: 1\ntrai", ".yaml", "line 2, column 5: could not find expected ':'; is the file cut short?"),
        ('{"a": {"b": 1', ".json", "line 1, column 14: Expecting ',' delimiter; is the file cut short?"),
        ('{"a": "x', ".json", "line 1, column 7: Unterminated string starting at; is the file cut short?"),
        ("a = [1,", ".toml", "line 1, column 8: Invalid value; is the file cut short?"),
        ("a = 1\na = 2", ".toml", "line 2, column 6: Cannot overwrite a value; is a key or a [table] given twice?"),
        ("a: 1\nb: {a: 1, a: 2}", ".yaml", "line 2, column 11: the key 'a' is given twice"),
        ('{"a": 1, "a": 2}', ".json", "line 1, column 10: the key 'a' is given twice"),
        ("a: {b: .nan}", ".yaml", "line 1: a.b: expected a finite number, got nan"),
        ('{"a": NaN}', ".json", "line 1: a: expected a finite number, got nan"),
        ('{"a": [1e999]}', ".json", "line 1: a[0]: expected a finite number, got inf"),
        ("a = inf", ".toml", "line 1: a: expected a finite number, got inf"),
        ("a: 99999999999999999999", ".yaml", "line 1: a: the number is too large"),
        ('{"a": ' + "9" * 5000 + "}", ".json", "line 1: a: the number is too large"),
        ('{"a": "\\ud800"}', ".json", r"line 1: a: half of a surrogate pair (\ud800 to \udfff) is not text"),
        ("- a\n- b", ".yaml", "expected `key: value` lines at the top, got a list"),
        ("hello", ".yaml", "expected `key: value` lines at the top, got text"),
        ("a: &x 1\nb: *x", ".yaml", "line 1, column 4: anchors and aliases (& and *) are not taken: write the value out"),
        ("a: !!python/name:os.system", ".yaml", "line 1, column 4: tags (tag:yaml.org,2002:python/name:os.system) are not taken: write a plain value"),
        ("a: 1\n---\nb: 1", ".yaml", "line 2, column 1: a second document (`---`): a spec is one"),
        ("? [a]\n: b", ".yaml", "line 1, column 3: a key must be text, not a list"),
        ("a:\n\tb: 1", ".yaml", "line 2, column 1: found character '\\t' that cannot start any token; a tab in the indent: indent with spaces"),
        ("a: 1\n" + "x" * MAX_BYTES, ".yaml", "larger than 256 KiB: not a job spec"),
    ],
)  # fmt: skip
def test_bad_text_gets_one_line_that_says_what_and_where(text: str | bytes, suffix: str, expected: str) -> None:
    assert message(text, suffix) == expected


NEST = 100_000
ATTACKS = {
    "yaml lists": (".yaml", "[" * NEST),
    "yaml lists of items": (".yaml", "[a," * (NEST // 2)),
    "yaml mappings": (".yaml", "{a: " * (NEST // 2)),
    "yaml dashes": (".yaml", "- " * NEST),
    "yaml many values": (".yaml", "".join(f"k{n}: 1\n" for n in range(25_000))),
    "yaml alias bomb": (".yaml", "a: &a [1,1]\n" + "".join(f"b{n}: &b{n} [*a,*a]\n" for n in range(20))),
    "yaml one scalar": (".yaml", "a b " * (MAX_BYTES // 4)),
    "json lists": (".json", "[" * NEST),
    "json mappings": (".json", '{"a":' * (NEST // 3)),
    "toml lists": (".toml", "a=" + "[" * NEST),
    "toml dotted key": (".toml", "a." * NEST + "a=1"),
    "toml dotted table": (".toml", "[" + "a." * NEST + "a]"),
    "toml hidden behind a quoted key": (".toml", '"#"."=".' + "a." * NEST + "a=1"),
    "toml hidden in an inline table": (".toml", 'x=["""a"""", {' + "a." * NEST + "a=1}]"),
    "toml escaped quotes": (".toml", 'a = "' + '\\"' * NEST),
    "toml hexadecimal": (".toml", "a=0x" + "f" * NEST),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_text_is_refused_quickly(name: str) -> None:
    suffix, text = ATTACKS[name]
    began = time.process_time()
    message(text, suffix)
    assert time.process_time() - began < 1.0


def test_a_dotted_value_or_comment_is_not_a_nested_key() -> None:
    text = "# " + ". " * 100 + '= x\na = "' + "v." * 100 + '"\nb = """\n' + "c." * 100 + '= 1"""\n'
    assert set(parse(text.encode(), ".toml").value) == {"a", "b"}


def parse_or_refuse(data: bytes, suffix: str) -> None:
    """Anything else than a mapping or a printable line fails the test."""
    message = ""
    try:
        assert isinstance(parse(data, suffix).value, dict)
    except ParseError as error:
        message = str(error)
    assert message.isprintable()


@given(st.binary(max_size=300), st.sampled_from(sorted(PARSERS)))
def test_any_bytes_give_values_or_a_parse_error(data: bytes, suffix: str) -> None:
    parse_or_refuse(data, suffix)


FRAGMENTS = ["a", "b:", " ", "\n", "- ", "[", "]", "{", "}", ",", '"', "'", "#", "=", ".", "[[", "1", "e5", "&", "*", "!", "|", ">",
             "?", "%", "---", "\\", "\t", "<<", '"""', "0x", "~", "\ufeff", "\u2028", "null", "_", "@", "`"]  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=60).map("".join), st.sampled_from(sorted(PARSERS)))
def test_any_arrangement_of_the_formats_own_characters_is_survived(text: str, suffix: str) -> None:
    parse_or_refuse(text.encode(), suffix)


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join))
def test_toml_is_read_as_tomllib_reads_it(text: str) -> None:
    try:
        parsed = parse(text.encode(), ".toml")
    except ParseError:
        return
    assert parsed.value == tomllib.loads(text.removeprefix("\ufeff"))
