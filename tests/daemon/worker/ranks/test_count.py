"""How many ranks a job has here, which cores each has, and which jobs have none."""

from __future__ import annotations

import json

import pytest

from prefd.daemon.machine import cpus
from prefd.daemon.machine.cpus import CPUS
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.ranks import checks, count
from prefd.daemon.worker.ranks.checks import describe_few_pairs, refuse_ranks
from prefd.daemon.worker.ranks.count import RANK, RANKS, SHARES, begin_ranks, count_ranks, read_ranks, share_cores
from prefd.daemon.worker.ranks.ring import describe_old_mlx


def test_all_is_a_rank_for_each_core_of_a_cpu_and_one_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count.sys, "platform", "linux")
    assert count_ranks("all", "cpu", 6) == 6
    assert count_ranks("all", "gpu", 6) == 1
    assert count_ranks(3, "gpu", 6) == 3
    monkeypatch.setattr(count.sys, "platform", "darwin")
    assert count_ranks("all", "auto", 8) == 1


def test_ranks_have_cores_of_their_own_where_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count, "usable_cpus", lambda: [0, 1, 2, 5, 6])
    shares = share_cores(2)
    assert [share[CPUS] for share in shares] == ["0,2,6", "1,5"]
    assert {share["OPENBLAS_NUM_THREADS"] for share in shares} == {"2"}
    crowded = share_cores(7)
    assert {share[CPUS] for share in crowded} == {"0,1,2,5,6"}
    assert {share["OPENBLAS_NUM_THREADS"] for share in crowded} == {"1"}


def test_the_first_rank_keeps_to_its_cores_and_knows_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[str] = []
    for name in (CPUS, RANK, RANKS, SHARES, *cpus.THREADS):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(count, "usable_cpus", lambda: [0, 1])
    monkeypatch.setattr(count, "keep_to_cores", lambda: kept.append(count.os.environ[CPUS]))
    begin_ranks(1)
    assert (read_ranks(), kept) == (1, [])
    begin_ranks(2)
    assert (read_ranks(), kept) == (2, ["0"])
    assert [share[RANK] for share in json.loads(count.os.environ[SHARES])] == ["0", "1"]


@pytest.mark.parametrize(
    ("device", "independent", "version", "words"),
    [
        ("gpu", True, "0.32.4", "computes on its GPU"),
        ("cpu", False, "0.32.4", "compares the pairs of a batch"),
        ("cpu", True, "0.32.1", "need mlx 0.32.2 or newer"),
    ],
)
def test_a_job_that_cannot_have_ranks_is_refused_with_the_remedy(
    device: str, independent: bool, version: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks.metadata, "version", lambda _: version)
    with pytest.raises(JobError, match=words) as refused:
        refuse_ranks(2, device, independent)
    assert "ranks: 1" in str(refused.value)
    refuse_ranks(1, device, independent)


def test_an_mlx_in_which_a_dead_rank_is_noticed_is_taken() -> None:
    assert describe_old_mlx("0.32.2") is None
    assert describe_old_mlx("0.33.0.dev20261101") is None


def test_steps_of_few_pairs_are_told() -> None:
    assert describe_few_pairs(1, 1) is None
    assert describe_few_pairs(2, 8) is None
    assert "worth it from 12 pairs" in (describe_few_pairs(3, 4) or "")
