"""`cache explain`: what a job would need, told before anything is computed, and true afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.models import loading, memory
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.reference import estimate, window_choice
from prefd.daemon.worker.reference.estimate import count_parameters, explain
from prefd.daemon.worker_tasks.answers import Explanation
from prefd.daemon.worker_tasks.inputs import ExplainInput
from support import tiny_model as tiny
from support.jobs_on_disk import make_job, run_precompute
from support.sample_pairs import PAIRS


def asked(home: Path, **spec: Any) -> Explanation:
    return explain(Home(home), ExplainInput(spec=JobSpec.model_validate(spec)))


def test_a_new_reference_needs_everything_and_nothing_is_made(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    found = asked(home, model=str(tiny_model), data={"path": str(pairs_file)})
    assert (found.completions, found.missing, found.cached) == (2 * len(PAIRS), 2 * len(PAIRS), 0)
    assert (found.known, found.near) == (False, [])
    assert found.estimated_seconds > 0
    assert "this machine's matrix products" in found.estimate_from
    assert not (home / "cache" / "zarr.json").exists()
    assert not (home / "runs").exists()


def test_what_it_says_is_what_the_job_then_does(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    spec: dict[str, Any] = {"model": str(tiny_model), "data": {"path": str(pairs_file)}}
    before = asked(home, **spec)
    done = run_precompute(make_job(home, **spec)).summary
    same = ("fingerprint", "completions", "duplicates", "tokens_scored", "tokens_run", "bytes")
    assert [getattr(before, name) for name in same] == [getattr(done, name) for name in same]
    after = asked(home, **spec)
    assert (after.known, after.missing, after.estimated_seconds) == (True, 0, 0.0)


def test_the_time_goes_by_an_earlier_pass_where_there_was_one(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    job = make_job(home, model=str(tiny_model), data={"path": str(pairs_file), "max_length": 40})
    outcome = run_precompute(job)
    job.run.write_outcome("precompute", outcome)
    found = asked(home, model=str(tiny_model), data={"path": str(pairs_file), "max_length": 60})
    assert found.missing > 0
    rate = outcome.summary.tokens_run / outcome.summary.scoring_seconds
    assert found.estimated_seconds == pytest.approx(found.tokens_run / rate)
    assert found.estimate_from == "an earlier pass of this reference here"


def test_it_says_what_windows_would_cost(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_choice, "CHUNK_TOKENS", {loading.device(): 256})
    monkeypatch.setattr(window_choice, "HEAD_BYTES", 0)
    monkeypatch.setattr(estimate, "BATCH_TOKENS", {loading.device(): 64})
    spec: dict[str, Any] = {"model": str(tiny_model), "data": {"path": str(pairs_file)}}
    assert asked(home, **spec).windows is None
    found = asked(home, **spec, reference={"window": 1})
    assert found.fingerprint == asked(home, **spec).fingerprint
    assert found.windows is not None
    assert (found.windows.size, found.windows.layers) == (1, 2)
    assert found.windows.readings == -(-found.tokens_run // 256)
    monkeypatch.setattr(memory, "machine", lambda: (300_000, 300_000))  # the weights take more
    automatic = asked(home, **spec).windows
    assert automatic is not None
    assert automatic.size == 1


def test_a_near_reference_is_named_with_the_fields_that_differ(
    home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path
) -> None:
    run_precompute(make_job(home, model=str(tiny_model), data={"path": str(pairs_file)}))
    other = tiny.build_llama(tmp_path / "other")
    tiny.build_tokenizer(other, tiny.CHATML.replace("assistant", "helper"))
    (near,) = asked(home, model=str(other), data={"path": str(pairs_file)}).near
    assert near.differs == ["chat_template"]
    assert (near.model, near.entries) == (str(tiny_model), 2 * len(PAIRS))


def test_parameters_are_counted_from_the_files(tiny_model: Path) -> None:
    assert count_parameters(ModelSource(str(tiny_model))) == pytest.approx(95_000, rel=0.05)


@pytest.mark.parametrize("mode", tiny.MODES)
def test_parameters_of_packed_weights_are_counted_as_what_they_stand_for(
    tiny_model: Path, tmp_path: Path, mode: str
) -> None:
    packed = tiny.quantized(tiny_model, tmp_path / "base", mode)
    assert count_parameters(ModelSource(str(packed))) == count_parameters(ModelSource(str(tiny_model)))
