"""Segment ids: above what is there, and never the same for two writers."""

from __future__ import annotations

import time

import pytest
from ulid import ULID

from prefd.cache.segments.ids import is_id, make_id_after, make_id_behind, new_id


def test_the_next_id_is_above_the_greatest_by_the_clock() -> None:
    before = str(ULID())
    new = make_id_after(before)
    assert is_id(new)
    assert new > before
    assert ULID.from_str(new).timestamp == pytest.approx(time.time(), abs=60)
    assert is_id(make_id_after(""))


def test_a_clock_set_back_gives_ids_that_go_up_and_differ_between_writers() -> None:
    future = str(ULID.from_timestamp(time.time() + 86400))
    theirs, mine = make_id_after(future), make_id_after(future)
    assert min(theirs, mine) > future
    assert theirs != mine
    assert make_id_after(mine) > mine


def test_an_id_behind_another_sorts_before_all_that_come_later() -> None:
    lowest = new_id()
    later = str(ULID.from_timestamp(ULID.from_str(lowest).milliseconds + 1))
    ids = {make_id_behind(lowest) for _ in range(20)}
    assert len(ids) == 20
    assert all(is_id(each) and lowest < each < later for each in ids)


@pytest.mark.parametrize("name", ["", "notes.txt", ".DS_Store", "01K", "I" * 26])
def test_what_is_no_ulid_is_no_id(name: str) -> None:
    assert not is_id(name)
