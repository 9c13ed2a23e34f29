"""What an answer that is drawn between two steps takes, as the estimate has it and as MLX measures it."""

from __future__ import annotations

import threading
from pathlib import Path

import mlx.core as mx
import pytest

from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.lookup_tables import Tables
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.sampling.generator import Generator
from prefd.daemon.worker.training import memory
from prefd.daemon.worker.training.activations import KEYS_GROW_BY, estimate_answer
from prefd.daemon.worker.training.memory import Estimate, check
from prefd.daemon.worker_tasks.live_requests import SampleRequest, SamplingParams
from support.array_memory import count_held_bytes

GIB = 2**30


def test_an_answer_takes_what_is_estimated(tiny_model: Path) -> None:
    source = ModelSource(str(tiny_model))
    model = loading.load(source)
    mx.eval(model.parameters())
    generator = Generator(source, Tables.read(source), "", threading.Event())
    params = SamplingParams(max_tokens=8, temperature=0.0, seed=0)
    before = count_held_bytes()
    mx.reset_peak_memory()
    generator.sample(model, SampleRequest(n=1, tokens=list(range(3, 103)), params=params))
    estimated = estimate_answer(model, 108)
    assert estimate_answer(model, 0) == 0
    assert estimated < estimate_answer(model, KEYS_GROW_BY + 1)
    assert mx.get_peak_memory() - before == pytest.approx(estimated, rel=0.5)


def test_an_answer_counts_where_it_is_more_than_a_step_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine", lambda: (16 * GIB, 4 * GIB))
    assert Estimate(GIB, 0, 0, 3 * GIB, 700, answer=2 * GIB).total == 4 * GIB
    warning = check(Estimate(GIB, 0, 0, 3 * GIB, 700, answer=5 * GIB), TrainingSpec())
    assert warning is not None
    assert "about 6.0 GiB" in warning
    assert "an answer of eval_samples 5.0 GiB; 4.0 GiB of 16.0 GiB are free now" in warning
    assert "fewer eval_samples.max_tokens; training.grad_checkpoint" in warning
