"""How much of a step runs at once is chosen by memory where the spec leaves it open, kept for a run, and told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefd.daemon.runs.batch_record import CHOICE, BatchRecord, BatchSettings
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.training import batch_settings
from prefd.daemon.worker.training.batch_settings import choose_batches, halve
from prefd.daemon.worker.training.memory import Estimate

GIB = 2**30
USUAL = BatchSettings(16384, False, 4096)


def estimate(settings: BatchSettings) -> Estimate:
    """A GiB a thousand tokens, a quarter of it with layers recomputed, and half in pieces below 4,096."""
    size = settings.batch_tokens * GIB // 1000
    size = size // 4 if settings.grad_checkpoint else size
    return Estimate(GIB, 0, 0, size * settings.chunk_tokens // 4096, settings.batch_tokens)


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BatchRecord:
    monkeypatch.setattr(loading, "device", lambda: "gpu")
    return BatchRecord(tmp_path)


def choose(
    monkeypatch: pytest.MonkeyPatch, record: BatchRecord, gib: float, parallel: int = 1, **training: object
) -> tuple[BatchSettings, str | None]:
    monkeypatch.setattr(batch_settings, "machine", lambda: (int(gib * GIB), 0))
    chosen = choose_batches(TrainingSpec.model_validate(training), record, estimate, parallel)
    return chosen.settings, chosen.note


@pytest.mark.parametrize(
    ("gib", "expected"),
    [
        (64, USUAL),
        (16, BatchSettings(8192, False, 4096)),
        (5, BatchSettings(2048, False, 4096)),  # a GPU is still busy
        (3.5, BatchSettings(4096, True, 4096)),  # fewer tokens would leave it idle, so layers are recomputed first
        (1.6, BatchSettings(1024, True, 4096)),
        (0.1, BatchSettings(128, True, 256)),  # nothing fits, and what is smallest is tried
    ],
)
def test_the_fastest_settings_that_fit_are_chosen(
    monkeypatch: pytest.MonkeyPatch, record: BatchRecord, gib: float, expected: BatchSettings
):
    settings, note = choose(monkeypatch, record, gib)
    assert settings == expected
    assert (note is None) == (expected == USUAL)


def test_what_is_chosen_is_told_with_the_estimate_that_did_not_fit(
    monkeypatch: pytest.MonkeyPatch, record: BatchRecord
):
    _, note = choose(monkeypatch, record, 16)
    assert note == (
        "run with batch_tokens 8,192, grad_checkpoint false, chunk_tokens 4,096, chosen for the memory of this machine "
        "(estimated at 17.4 GiB with batch_tokens 16,384, grad_checkpoint false, chunk_tokens 4,096); the gradients are the same"
    )


def test_jobs_beside_each_other_share_the_memory(monkeypatch: pytest.MonkeyPatch, record: BatchRecord):
    assert choose(monkeypatch, record, 32, parallel=2)[0].batch_tokens == 8192


def test_what_the_spec_says_is_kept(monkeypatch: pytest.MonkeyPatch, record: BatchRecord):
    spec_settings = {"batch_tokens": 9000, "grad_checkpoint": False}
    settings, note = choose(monkeypatch, record, 0.5, **spec_settings)
    assert (settings.batch_tokens, settings.grad_checkpoint, settings.chunk_tokens) == (9000, False, 256)
    assert note is not None


def test_a_run_that_goes_on_is_cut_as_it_was_whatever_memory_there_is_now(
    monkeypatch: pytest.MonkeyPatch, record: BatchRecord
):
    first, _ = choose(monkeypatch, record, 16)
    assert choose(monkeypatch, record, 64)[0] == first


def test_memory_that_ran_out_halves_what_was_chosen(monkeypatch: pytest.MonkeyPatch, record: BatchRecord):
    choose(monkeypatch, record, 64)
    record.add_halving("memory")
    settings, note = choose(monkeypatch, record, 64, batch_tokens=16384)
    assert settings == BatchSettings(8192, False, 4096)
    assert note is not None
    assert "memory ran out once with more" in note
    record.add_halving("memory")
    assert choose(monkeypatch, record, 64)[0].batch_tokens == 4096


def test_passes_that_the_gpu_ended_are_told_as_that(monkeypatch: pytest.MonkeyPatch, record: BatchRecord):
    choose(monkeypatch, record, 64)
    assert [record.add_halving("device"), record.add_halving("device")] == [1, 2]
    settings, note = choose(monkeypatch, record, 64)
    assert settings.batch_tokens == 4096
    assert "chosen for this machine (the GPU ended longer passes 2 times); the gradients are the same" in str(note)
    record.add_halving("memory")
    assert "(memory ran out once with more, and the GPU ended longer passes 2 times)" in str(
        choose(monkeypatch, record, 64)[1]
    )


def test_a_count_of_an_earlier_version_is_of_memory(record: BatchRecord):
    (record.folder / "halvings.json").write_text("2")
    assert (record.count_halvings("memory"), record.count_halvings("device"), record.halvings) == (2, 0, 2)


def test_few_tokens_are_halved_in_other_ways_too(record: BatchRecord):
    assert halve(BatchSettings(2048, False, 4096)) == BatchSettings(1024, True, 4096)
    assert halve(BatchSettings(1024, True, 4096)) == BatchSettings(512, True, 2048)
    assert halve(BatchSettings(1, True, 256)) == BatchSettings(1, True, 256)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"batch_tokens": "9"}'])
def test_a_damaged_record_is_chosen_anew(monkeypatch: pytest.MonkeyPatch, record: BatchRecord, text: str):
    (record.folder / CHOICE).write_text(text)
    assert choose(monkeypatch, record, 64)[0] == USUAL
    assert json.loads((record.folder / CHOICE).read_text())["batch_tokens"] == 16384
    (record.folder / "halvings.json").write_text(text)
    assert record.halvings == 0


def test_a_device_that_may_compute_fewer_tokens_at_once_is_kept_to_them_and_no_memory_is_blamed(
    monkeypatch: pytest.MonkeyPatch, record: BatchRecord
) -> None:
    monkeypatch.setattr(batch_settings, "machine", lambda: (64 * GIB, 0))
    first = choose_batches(TrainingSpec(), record, estimate, bound=lambda tokens: tokens // 4)
    resumed = choose_batches(TrainingSpec(), record, estimate, bound=lambda tokens: tokens)
    assert first.settings == resumed.settings == BatchSettings(4096, False, 4096)
    assert first.note == resumed.note
    assert first.note is not None
    assert first.note.startswith("run with batch_tokens 4,096 in place of 16,384, so that the display need not wait")


def test_tokens_that_the_spec_names_are_not_bounded(monkeypatch: pytest.MonkeyPatch, record: BatchRecord) -> None:
    monkeypatch.setattr(batch_settings, "machine", lambda: (64 * GIB, 0))
    spec = TrainingSpec(batch_tokens=16384)
    assert choose_batches(spec, record, estimate, bound=lambda _: 1).settings.batch_tokens == 16384


def test_a_mac_begins_with_what_saturates_it(monkeypatch: pytest.MonkeyPatch, record: BatchRecord):
    monkeypatch.setattr(batch_settings, "find_tier", lambda: "metal")
    assert choose(monkeypatch, record, 64)[0].batch_tokens == 2048
    assert halve(BatchSettings(2048, False, 4096)) == BatchSettings(1024, False, 4096)
    assert halve(BatchSettings(1024, False, 4096)) == BatchSettings(512, True, 4096)
