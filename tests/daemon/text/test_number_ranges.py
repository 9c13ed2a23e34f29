"""The grammar of lists of jobs' numbers: what is written reads back, and what is no list says so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefd.daemon.text.number_ranges import LARGEST, Numbers, parse_numbers

numbers = st.integers(0, LARGEST)
small_ranges = st.tuples(st.integers(0, 500), st.integers(0, 50)).map(lambda pair: range(pair[0], sum(pair) + 1))


@given(st.lists(small_ranges, min_size=1, max_size=8))
def test_a_written_list_reads_back_as_the_same_numbers(ranges: list[range]) -> None:
    parsed = parse_numbers(str(Numbers(tuple(ranges))))
    assert {number for number in range(600) if number in parsed} == {number for each in ranges for number in each}
    assert parsed.single == tuple(each.start for each in ranges if len(each) == 1)


@given(numbers, numbers)
def test_both_ends_of_a_range_belong_to_it_and_nothing_beside_them(one: int, other: int) -> None:
    first, last = sorted((one, other))
    parsed = parse_numbers(f"{first}-{last}")
    assert first in parsed
    assert last in parsed
    assert first - 1 not in parsed
    assert last + 1 not in parsed


@given(st.text(max_size=30))
def test_any_text_is_a_list_or_is_refused_in_words(text: str) -> None:
    try:
        parsed = parse_numbers(text)
    except ValueError as error:
        assert "expected numbers" in str(error) or "goes backwards" in str(error)  # noqa: PT017  # or it is a list
    else:
        assert parse_numbers(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no list of numbers; expected numbers such as 3, 1-3, 1,2 or 1-3,7"),
        ("1,,2", "'1,,2' is no list of numbers"),
        ("-3", "'-3' is no list of numbers"),
        ("3-", "'3-' is no list of numbers"),
        ("1-2-3", "'1-2-3' is no list of numbers"),
        ("٣", "'٣' is no list of numbers"),
        ("9-3", "9-3 goes backwards; write 3-9"),
        ("9223372036854775808", "9223372036854775808 is larger than any job's number"),
        ("9" * 5000, f"{'9' * 60} is larger than any job's number"),
    ],
)
def test_what_is_no_list_is_told_with_what_is_expected(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"no list|backwards|larger") as raised:
        parse_numbers(text)
    assert str(raised.value).startswith(message)


def test_spaces_beside_commas_are_fine() -> None:
    assert str(parse_numbers("1, 4-6")) == "1,4-6"
