"""Ranks try whether they reach each other before MLX does, and tell MLX where they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.ranks.meeting import Meeting, find_neighbour
from prefd.daemon.worker.ranks.ring_place import RingPlace, describe_place, offered_place

PLACE = RingPlace(1, (("10.0.0.1:5000", "10.1.0.1:5001"), ("10.0.0.2:6000", "10.1.0.2:6001")), "nonce")


def test_a_rank_that_listens_is_reached_and_one_that_has_left_is_not() -> None:
    with Meeting(["127.0.0.1"] * 2) as meeting:
        addresses = meeting.addresses
        assert len(set(addresses)) == 2
        assert find_neighbour(addresses) == ""
    assert find_neighbour(addresses).startswith(f"{addresses[0]}: ")


def test_the_address_of_another_machine_is_refused() -> None:
    with pytest.raises(JobError, match=r"192\.0\.2\.1 is no address of this machine"):
        Meeting(["192.0.2.1"])


def test_a_place_arrives_as_it_was() -> None:
    assert RingPlace.from_json(json.loads(json.dumps(PLACE.to_json()))) == PLACE
    assert PLACE.seen_by(0).rank == 0


@pytest.mark.parametrize(
    ("backend", "variables"),
    [
        ("ring", {"MLX_HOSTFILE"}),
        ("jaccl", {"MLX_IBV_DEVICES", "MLX_JACCL_COORDINATOR"}),
        ("nccl", {"MLX_WORLD_SIZE", "NCCL_HOST_IP", "NCCL_PORT"}),
    ],
)
def test_mlx_finds_a_group_by_the_variables_of_its_backend(backend: str, variables: set[str], tmp_path: Path) -> None:
    place = RingPlace(**{**PLACE.to_json(), "backend": backend, "rdma": ([None, "en2"], ["en2", None])})
    described = describe_place(place, tmp_path)
    assert described.keys() == {"MLX_RANK"} | variables
    assert described.get("NCCL_HOST_IP", "10.0.0.1") == "10.0.0.1"
    assert described.get("MLX_JACCL_COORDINATOR", "10.0.0.1:5000") == "10.0.0.1:5000"
    contents = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    expected = {"ring": [list(map(list, PLACE.addresses))], "jaccl": [[[None, "en2"], ["en2", None]]], "nccl": []}
    assert contents == expected[backend]


def test_what_another_program_has_set_is_not_taken_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_IBV_DEVICES", "/x")
    monkeypatch.setenv("MLX_RANK", "7")
    with offered_place(PLACE):
        assert os.environ["MLX_RANK"] == "1"
        assert "MLX_IBV_DEVICES" not in os.environ
    assert "MLX_RANK" not in os.environ
