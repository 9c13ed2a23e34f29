"""Passes that keep a GPU for long are shorter from the next step on; a run that goes on repeats that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from prefd.daemon.runs.batch_record import SHORTER, BatchRecord, BatchSettings, ShorterPasses
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.errors import Stopped
from prefd.daemon.worker.training import train
from prefd.daemon.worker.training.pass_sizes import PassSizes, SlowPass, shorten
from prefd.daemon.worker.training.schedule import count_tokens
from support.jobs_on_disk import StopAtLook, adapter_digest, again, finished, job, run_precompute, run_training

USUAL = BatchSettings(4096, False, 4096)


def make_pairs(count: int, answer: int = 100) -> list[Example]:
    sides = (Completion(np.arange(answer + 10, dtype=np.uint32), 10), Completion(np.arange(20, dtype=np.uint32), 10))
    return [Example(row, *sides) for row in range(count)]


@pytest.fixture
def sizes(tmp_path: Path) -> PassSizes:
    return PassSizes(BatchRecord(tmp_path), USUAL, layers=20)


def test_passes_of_which_no_layer_takes_half_a_second_stay_as_they_are(sizes: PassSizes):
    for _ in range(9):
        sizes.note_pass(make_pairs(4), 9.9)
    assert sizes.review(1) is None
    assert (sizes.settings, sizes.record.read_shorter_passes()) == (USUAL, [])


def test_a_pass_that_took_long_once_may_have_compiled_a_kernel(sizes: PassSizes):
    sizes.note_pass(make_pairs(16), 400.0)
    assert sizes.review(1) is None
    sizes.note_pass(make_pairs(16), 30.0)
    message = sizes.review(2)
    assert message is not None
    assert "a layer took 1.5 s in a pass" in message
    assert "from step 3 on it runs with batch_tokens" in message
    assert sizes.review(3) is None, "the new sizes have not been measured yet"


@pytest.mark.parametrize(
    ("slow", "expected"),
    [
        (SlowPass(0.9, 4, 4000, 700), BatchSettings(2000, False, 4096)),
        (SlowPass(2.1, 4, 4000, 700), BatchSettings(1000, False, 4096)),
        (SlowPass(99.0, 4, 4000, 700), BatchSettings(1000, False, 4096)),
        (SlowPass(99.0, 2, 600, 100), USUAL),
        (SlowPass(99.0, 1, 600, 300), USUAL),
        (SlowPass(0.9, 1, 6000, 3000), BatchSettings(4096, False, 1500)),
        (SlowPass(99.0, 1, 6000, 3000), BatchSettings(4096, False, 375)),
    ],
)
def test_a_batch_is_halved_and_a_pair_that_is_too_long_alone_runs_in_pieces(slow: SlowPass, expected: BatchSettings):
    assert shorten(USUAL, slow) == expected


def test_what_was_decided_is_followed_by_a_run_that_goes_on_and_not_decided_anew(sizes: PassSizes):
    sizes.record.add_shorter_passes(ShorterPasses(5, 1024, 4096, 0.8))
    resumed = PassSizes(sizes.record, USUAL, layers=20)
    assert resumed.follow_record(3) is None
    for _ in range(3):
        resumed.note_pass(make_pairs(4), 90.0)
    assert resumed.review(4) is None, "step 5 was taken in the sizes of before"
    message = resumed.review(5)
    assert message is not None
    assert "from step 6 on it runs with batch_tokens 1,024" in message
    assert PassSizes(sizes.record, USUAL, 20).follow_record(7) == message, "and so it does whenever it goes on"


@pytest.mark.parametrize("text", ["{", "[1]", '{"after_step": 1}', '[{"after_step": "x"}]'])
def test_a_damaged_record_is_none(tmp_path: Path, text: str):
    (tmp_path / SHORTER).write_text(text)
    assert BatchRecord(tmp_path).read_shorter_passes() == []


def test_a_run_that_is_cut_smaller_on_its_way_ends_alike_whether_or_not_it_was_stopped(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
):
    """The device of this test takes a second a layer for 40 tokens, from the fourth pass on, as one that gets hot."""
    count = 0
    sizes_seen: list[int] = []

    class Heating(PassSizes):
        def note_pass(self, batch: Sequence[Example], seconds: float) -> None:
            nonlocal count
            count += 1
            sizes_seen.append(len(batch))
            tokens = sum(map(count_tokens, batch))
            super().note_pass(batch, tokens / 40 * self.layers if count > 3 else 0.0)

    monkeypatch.setattr("prefd.daemon.worker.training.pass_sizes.SAMPLE_TOKENS", 16)
    monkeypatch.setattr(train, "watch_passes", lambda job, model, settings: Heating(job.run.batches, settings, 2))
    settings = {"iters": 9, "batch_size": 4, "save_every": 2, "lora": {"rank": 4, "dropout": 0.2}}
    unbroken = finished(job(home, tiny_model, pairs_file, job_id=1, training=settings))
    assert sizes_seen[0] > 1
    assert sizes_seen[-1] == 1
    first, *_ = unbroken.run.batches.read_shorter_passes()
    assert 3 <= first.after_step < 9
    count = 0
    broken = job(home, tiny_model, pairs_file, job_id=2, training=settings)
    run_precompute(broken)
    with pytest.raises(Stopped):
        run_training(broken, StopAtLook(first.after_step + 2))
    count = 99
    outcome = run_training(again(broken))
    assert broken.run.batches.read_shorter_passes() == unbroken.run.batches.read_shorter_passes()
    assert adapter_digest(broken) == adapter_digest(unbroken)
    assert any(
        "from step" in warning and "the gradients are the same" in warning for warning in outcome.summary.warnings
    )
