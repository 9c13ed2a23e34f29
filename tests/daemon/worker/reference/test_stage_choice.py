"""Which rank has which layers: the largest stage as small as can be, within what each machine has."""

from __future__ import annotations

import itertools

import pytest

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.reference import window_choice
from prefd.daemon.worker.reference.stage_choice import Room, choose_stages, count_bytes, explain_no_stages, fits_whole
from prefd.daemon.worker.reference.window_choice import ModelSizes
from support import tiny_architectures

PLENTY = 10**9


@pytest.fixture(autouse=True)
def light_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window_choice, "HEAD_BYTES", 0)


def rooms(*totals: int, free: int | None = None) -> list[Room]:
    return [Room(rank, f"m{rank}", total, total if free is None else free) for rank, total in enumerate(totals)]


def cut(sizes: ModelSizes, rooms: list[Room]) -> list[tuple[int, int]] | None:
    stages = choose_stages(sizes, rooms, 0)
    return None if stages is None else [(each.begin, each.end) for each in stages.stages]


def test_layers_are_shared_out_evenly_where_there_is_memory() -> None:
    sizes = ModelSizes(0, (10,) * 6, 0)
    assert cut(sizes, rooms(PLENTY, PLENTY)) == [(0, 3), (3, 6)]
    assert cut(sizes, rooms(PLENTY, PLENTY, PLENTY)) == [(0, 2), (2, 4), (4, 6)]
    uneven = ModelSizes(0, (30, 10, 10, 10), 0)
    assert cut(uneven, rooms(PLENTY, PLENTY)) == [(0, 1), (1, 4)]
    with_head = ModelSizes(80, (10,) * 6, 0, behind=40)
    assert cut(with_head, rooms(PLENTY, PLENTY)) == [(0, 4), (4, 6)]


def test_every_cut_is_the_best_of_all_that_fit() -> None:
    sizes = ModelSizes(7, (3, 9, 4, 4, 8, 2, 5), 0, behind=4)
    capacities = [16, 20, 18]

    def work(begin: int, end: int) -> float:
        return sum(sizes.layers[begin:end]) + (0.5 * 4 if end == 7 else 0)

    possible = {
        tuple(zip((0, *ends), (*ends, 7))): None
        for ends in itertools.combinations(range(1, 7), 2)
        if all(count_bytes(sizes, *pair) <= room for pair, room in zip(zip((0, *ends), (*ends, 7)), capacities))
    }
    best = min(max(work(*pair) for pair in pairs) for pairs in possible)
    best_cut = cut(
        sizes, [Room(rank, "", room, int(room / window_choice.USABLE) + 1) for rank, room in enumerate(capacities)]
    )
    assert best_cut is not None
    assert tuple(best_cut) in possible
    assert max(work(*pair) for pair in best_cut) == best


def test_a_small_machine_has_fewer_layers_and_too_small_ones_none_at_all() -> None:
    sizes = ModelSizes(0, (10,) * 6, 0)
    assert cut(sizes, rooms(PLENTY, 25)) == [(0, 4), (4, 6)]
    assert cut(sizes, rooms(25, 25)) is None
    assert cut(sizes, rooms(30, 30, free=0)) == [(0, 3), (3, 6)], "what is free now may be free later"
    assert fits_whole(sizes, rooms(60, 60))
    assert not fits_whole(sizes, rooms(60, 59))
    assert Room.share(1, "", (100, 60), 2) == Room(1, "", 50, 30)
    error = explain_no_stages(sizes, "org/m", rooms(25, 2**31))
    assert isinstance(error, JobError)
    assert "rank 1 (m1) 2.0 GiB; name a smaller reference, or add machines to [distributed] hosts" in str(error)


@pytest.mark.parametrize(("name", "tied"), [("llama", True), ("llama untied", False)])
def test_the_first_stage_has_the_embeddings_and_the_last_one_the_head(name: str, tied: bool) -> None:
    sizes = ModelSizes.measure(tiny_architectures.build(name))
    embeddings, norm = 4 * 64 * 32, 4 * 32
    assert count_bytes(sizes, 0, 1) == sizes.layers[0] + embeddings + norm
    assert count_bytes(sizes, 1, 2) == sizes.layers[1] + embeddings + (norm if tied else 0)
