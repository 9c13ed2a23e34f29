"""How many ranks a job has here, which cores each has, and which jobs have none."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.hosts import Host
from prefd.daemon.home.settings import ConfigError
from prefd.daemon.machine.cpus import CPUS
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.ranks import checks, count
from prefd.daemon.worker.ranks.checks import check_ranks, describe_few_pairs, refuse_ranks
from prefd.daemon.worker.ranks.count import RANK, RANKS, RANKS_HERE, count_ranks, is_gpu_likely, share_cores
from prefd.daemon.worker.ranks.ring_place import describe_old_mlx
from support import jobs_on_disk


def test_all_is_a_rank_for_each_core_of_a_cpu_and_one_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count.sys, "platform", "linux")
    assert count_ranks("all", "cpu", 6) == 6
    assert count_ranks("all", "gpu", 6) == 1
    assert count_ranks(3, "gpu", 6) == 3
    monkeypatch.setattr(count.sys, "platform", "darwin")
    assert count_ranks("all", "auto", 8) == 1


def test_all_is_a_rank_for_each_host_and_more_than_hosts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = [Host(ssh=name) for name in ("localhost", "studio-2", "localhost")]
    assert count_ranks("all", "gpu", 6, hosts) == 3
    assert count_ranks(2, "cpu", 6, hosts) == 2
    with pytest.raises(JobError, match=r"lists 3 hosts, one for each rank; take ranks: 3, or list a host twice"):
        count_ranks(4, "cpu", 6, hosts)


def test_a_gpus_wheel_is_found_without_reading_every_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("this reads the metadata of all that is installed")

    monkeypatch.setattr(count.sys, "platform", "linux")
    monkeypatch.setattr(count.metadata, "distributions", refuse)
    assert not is_gpu_likely("auto")
    monkeypatch.setattr(count, "GPU_WHEELS", ("mlx-cuda-99", "numpy"))
    assert is_gpu_likely("auto")


def test_ranks_have_cores_of_their_own_where_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count, "usable_cpus", lambda: [0, 1, 2, 5, 6])
    shares = share_cores([0, 2], 3)
    assert [share[CPUS] for share in shares] == ["0,2,6", "1,5"]
    assert [(share[RANK], share[RANKS], share[RANKS_HERE]) for share in shares] == [("0", "3", "2"), ("2", "3", "2")]
    assert {share["OPENBLAS_NUM_THREADS"] for share in shares} == {"2"}
    crowded = share_cores(range(7), 7)
    assert {share[CPUS] for share in crowded} == {"0,1,2,5,6"}
    assert {share["OPENBLAS_NUM_THREADS"] for share in crowded} == {"1"}


@pytest.mark.parametrize(
    ("device", "here", "independent", "version", "words"),
    [
        ("gpu", 2, True, "0.32.4", "computes on its GPU"),
        ("cpu", 2, False, "0.32.4", "compares the pairs of a batch"),
        ("gpu", 1, False, "0.32.4", "compares the pairs of a batch"),
        ("cpu", 2, True, "0.32.1", "need mlx 0.32.2 or newer"),
    ],
)
def test_a_job_that_cannot_have_ranks_is_refused_with_the_remedy(
    device: str, here: int, independent: bool, version: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks.metadata, "version", lambda _: version)
    with pytest.raises(JobError, match=words) as refused:
        refuse_ranks(2, here, device, independent)
    assert "ranks: 1" in str(refused.value)
    refuse_ranks(1, 1, device, independent)


def test_machines_with_one_rank_each_may_compute_on_their_gpus() -> None:
    refuse_ranks(2, 1, "gpu", batch_independent=True)
    with pytest.raises(JobError, match="computes on its GPU"):
        refuse_ranks(2, 2, "gpu", batch_independent=True)


def test_the_hosts_are_looked_at_where_several_ranks_are_wanted() -> None:
    broken = HandedSettings(hostfile="/nowhere/hosts.json")
    check_ranks(1, broken, "cpu", batch_independent=False)
    with pytest.raises(ConfigError, match=r"the hostfile /nowhere/hosts\.json cannot be read"):
        check_ranks(2, broken, "cpu", batch_independent=True)


def test_an_mlx_in_which_a_dead_rank_is_noticed_is_taken() -> None:
    assert describe_old_mlx("0.32.2") is None
    assert describe_old_mlx("0.33.0.dev20261101") is None


def test_steps_of_few_pairs_are_told() -> None:
    assert describe_few_pairs(1, 1) is None
    assert describe_few_pairs(2, 8) is None
    assert "worth it from 12 pairs" in (describe_few_pairs(3, 4) or "")


@pytest.mark.parametrize("loss", ["kto", "bco"])
def test_losses_of_single_answers_compare_a_batch_and_are_refused_before_anything_is_scored(
    loss: str, tmp_path: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = jobs_on_disk.job(tmp_path, tiny_model, pairs_file, loss=loss, ranks=2, data={"split_pairs": True})
    monkeypatch.setenv(RANKS, "2")
    for run in (jobs_on_disk.run_precompute, jobs_on_disk.run_training):
        with pytest.raises(JobError, match="ranks: the loss compares the pairs of a batch with each other"):
            run(job)
