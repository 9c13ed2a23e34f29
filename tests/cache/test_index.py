"""The index: the same answers in whatever order and portions the segments came."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faults.cache import batch
from prefd.cache.index import Index
from prefd.cache.segments.segment import Segment, open_segment, write_segment
from prefd.cache.sorted_entries import MAX_BATCH

IDENTITY = "ab" * 32


def segments(folder: Path, *contents: dict[bytes, list[float]]) -> list[Segment]:
    segment_list = []
    for index, content in enumerate(contents):
        write_segment(folder / f"{index:02}", {key: np.float32(value) for key, value in content.items()}, IDENTITY)
        segment_list.append(open_segment(folder / f"{index:02}", IDENTITY))
    return segment_list


def key(n: int) -> bytes:
    return bytes([n % 3]) * 8 + bytes([n]) * 24


@settings(max_examples=40, deadline=None)
@given(contents=st.lists(st.sets(st.integers(0, 20), min_size=1, max_size=8), min_size=1, max_size=6), data=st.data())
def test_every_order_and_portion_finds_the_same(
    tmp_path_factory: object, contents: list[set[int]], data: st.DataObject
) -> None:
    folder: Path = tmp_path_factory.mktemp("index")  # type: ignore[attr-defined]
    all_segments = segments(folder, *({key(n): [-1.0] for n in content} for content in contents))
    index = Index()
    shuffled = data.draw(st.permutations(all_segments))
    while shuffled:
        portion = data.draw(st.integers(1, len(shuffled)))
        index = index.with_segments(shuffled[:portion])
        shuffled = shuffled[portion:]
    gone = {segment.id for segment in all_segments if data.draw(st.booleans())}
    index = index.without(gone)
    present = [segment for segment in all_segments if segment.id not in gone]
    wanted = [key(n) for n in range(22)]
    for n, places in enumerate(index.find(wanted)):
        assert [segment.id for segment, _ in places] == [
            one.id for one in present if n in contents[all_segments.index(one)]
        ]
        assert all(segment.keys[row].tobytes() == wanted[n] for segment, row in places)
    held = [n for one in present for n in contents[all_segments.index(one)]]
    assert {name for name, _ in index.find_shared()} == {key(n) for n in held if held.count(n) > 1}
    assert [row.tobytes() for row in index.all_keys()] == sorted(key(n) for n in set(held))


def test_runs_stay_few_and_a_small_addition_leaves_the_large_run_alone(tmp_path: Path) -> None:
    contents = [{key: [-1.0] for key in batch(f"{n}", 200 if n == 0 else 3)} for n in range(30)]
    first, *rest = segments(tmp_path, *contents)
    index = Index().with_segments([first])
    large = index.runs[0]
    for segment in rest:
        index = index.with_segments([segment])
        assert index.runs[0] is large
        lengths = [len(run.prefixes) for run in index.runs]
        assert all(before >= 2 * after for before, after in pairwise(lengths))


@pytest.mark.parametrize("spread", [8, 7], ids=["evenly", "in one bucket"])
@pytest.mark.parametrize("at_once", [1, 30, MAX_BATCH + 1])
def test_a_batch_of_any_size_finds_what_a_dict_does(tmp_path: Path, spread: int, at_once: int) -> None:
    """Keys whose first byte differs, and keys whose first 7 bytes are the same: the buckets of no use then."""
    keys = [bytes(8 - spread) + bytes([n * 7 % 251]) + hashlib.sha256(bytes([n])).digest() for n in range(200)]
    held, absent = [name[:32] for name in keys[::2]], [name[:32] for name in keys[1::2]]
    below, above = bytes(32), b"\xff" * 32
    contents = [{name: [-1.0 - n, -2.0] for n, name in enumerate(held) if n % 3 == part} for part in range(3)]
    opened = segments(tmp_path, *contents)
    index = Index().with_segments(opened[:2]).with_segments(opened[2:])
    wanted = [below, *held, *absent, above] * (1 + at_once // 200)
    for start in range(0, len(wanted), at_once):
        portion = wanted[start : start + at_once]
        matches = {match.position: match for match in index.find_matches(portion)}
        assert [portion[n] for n in sorted(matches)] == [name for name in portion if name in held]
        for n, match in matches.items():
            assert match.segment.key(match.row) == portion[n]
            assert (match.begin, match.end) == tuple(match.segment.offsets[match.row : match.row + 2])
            value = match.segment.read_checked(portion[n], match.begin, match.end, match.crc)
            assert value.tolist() == [-1.0 - held.index(portion[n]), -2.0]


def test_an_empty_index_holds_nothing(tmp_path: Path) -> None:
    assert list(Index().find([key(1)])) == [[]]
    assert list(Index().find_shared()) == []
    assert Index().all_keys().shape == (0, 32)
    (only,) = segments(tmp_path, {key(1): [-1.0]})
    assert list(Index().with_segments([only]).without({only.id}).find([key(1)])) == [[]]
