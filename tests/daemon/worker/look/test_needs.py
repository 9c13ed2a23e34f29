"""What a job would need is what its phases then do."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.look.kept_data import KeptData
from prefd.daemon.worker.look.needs import find_needs
from prefd.daemon.worker.training.sizing import size_training
from support.jobs_on_disk import finished, job, make_job


def test_the_batches_are_those_that_the_job_then_chooses(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    running_job = job(home, tiny_model, pairs_file)
    needs = find_needs(KeptData(Home(home)).make_job(running_job.spec))
    assert (needs.missing, needs.cached, needs.needs_reference) == (16, 0, True)
    assert needs.memory is not None
    memory = needs.memory
    parts = (memory.weights, memory.optimizer, memory.gradients, memory.activations, memory.kept)
    assert memory.total == sum(parts)
    assert memory.kept > 2 * memory.optimizer  # the adapter and its optimizer's state, of two steps
    assert memory.weights > 4 * 95_000  # the model, and an adapter
    assert memory.warning is None
    assert needs.batches is not None
    assert not running_job.run.batches.read_choice()
    finished(running_job)
    chosen = running_job.run.batches.read_choice()
    assert chosen is not None
    assert (needs.batches.batch_tokens, needs.batches.usual) == (chosen.batch_tokens, True)
    assert needs.batches.steps == 3
    assert find_needs(KeptData(Home(home)).make_job(running_job.spec)).missing == 0


def test_a_job_that_trains_nothing_needs_no_memory_for_it(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    needs = find_needs(make_job(home, model=str(tiny_model), data={"path": str(pairs_file)}))
    assert (needs.memory, needs.batches, needs.missing) == (None, None, 16)


def test_a_loss_without_a_reference_says_so(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    assert not find_needs(job(home, tiny_model, pairs_file, "cpo")).needs_reference


def test_what_is_larger_than_the_machine_is_told_and_not_refused(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("memory", "batch_settings"):
        monkeypatch.setattr(f"prefd.daemon.worker.training.{place}.machine", lambda: (1000, 1000))
    sizing = size_training(job(home, tiny_model, pairs_file))
    assert sizing.warning is not None
    assert "this machine has 0.0 GiB in all" in sizing.warning
    assert not sizing.usual


def test_what_cannot_be_trained_is_refused_as_its_phase_would(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    running_job = job(home, tiny_model, pairs_file, training={"lora": {"rank": 4, "keys": ["no.such.layer"]}})
    with pytest.raises(JobError, match=r"no\.such\.layer"):
        find_needs(running_job)
