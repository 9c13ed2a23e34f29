"""`cache explain`: what a job would need, told before anything is computed, and true afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models import loading, memory
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.reference import estimate, window_choice
from prefd.daemon.worker.reference.estimate import count_parameters, explain
from prefd.daemon.worker_tasks.answers import Explanation, LiveComparison
from prefd.daemon.worker_tasks.inputs import ExplainInput
from support import tiny_model as tiny
from support.jobs_on_disk import make_job, run_precompute
from support.row_files import write_rows
from support.sample_pairs import PAIRS


def estimate_job(home: Path, **spec: Any) -> Explanation:
    return explain(Home(home), ExplainInput(spec=JobSpec.model_validate(spec)))


def test_a_new_reference_needs_everything_and_nothing_is_made(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    estimate = estimate_job(home, model=str(tiny_model), data={"path": str(pairs_file)})
    assert (estimate.completions, estimate.missing, estimate.cached) == (2 * len(PAIRS), 2 * len(PAIRS), 0)
    assert (estimate.known, estimate.near) == (False, [])
    assert estimate.estimated_seconds > 0
    assert "this machine's matrix products" in estimate.estimate_from
    assert not (home / "cache" / "zarr.json").exists()
    assert not (home / "runs").exists()


def test_what_it_says_is_what_the_job_then_does(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    spec: dict[str, Any] = {"model": str(tiny_model), "data": {"path": str(pairs_file)}}
    before = estimate_job(home, **spec)
    done = run_precompute(make_job(home, **spec)).summary
    same = ("fingerprint", "completions", "duplicates", "tokens_scored", "tokens_run", "bytes")
    assert [getattr(before, name) for name in same] == [getattr(done, name) for name in same]
    after = estimate_job(home, **spec)
    assert (after.known, after.missing, after.estimated_seconds) == (True, 0, 0.0)


def test_the_time_goes_by_an_earlier_pass_where_there_was_one(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    job = make_job(home, model=str(tiny_model), data={"path": str(pairs_file), "max_length": 40})
    outcome = run_precompute(job)
    job.run.write_outcome("precompute", outcome)
    estimate = estimate_job(home, model=str(tiny_model), data={"path": str(pairs_file), "max_length": 60})
    assert estimate.missing > 0
    rate = outcome.summary.tokens_run / outcome.summary.scoring_seconds
    assert estimate.estimated_seconds == pytest.approx(estimate.tokens_run / rate)
    assert estimate.estimate_from == "an earlier pass of this reference here"


def test_it_says_what_windows_would_cost(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_choice, "CHUNK_TOKENS", {loading.device(): 256})
    monkeypatch.setattr(window_choice, "HEAD_BYTES", 0)
    monkeypatch.setattr(estimate, "BATCH_TOKENS", {loading.device(): 64})
    spec: dict[str, Any] = {"model": str(tiny_model), "data": {"path": str(pairs_file)}}
    assert estimate_job(home, **spec).windows is None
    explanation = estimate_job(home, **spec, reference={"window": 1})
    assert explanation.fingerprint == estimate_job(home, **spec).fingerprint
    assert explanation.windows is not None
    assert (explanation.windows.size, explanation.windows.layers) == (1, 2)
    assert explanation.windows.readings == -(-explanation.tokens_run // 256)
    monkeypatch.setattr(memory, "machine", lambda: (300_000, 300_000))  # the weights take more
    automatic = estimate_job(home, **spec).windows
    assert automatic is not None
    assert automatic.size == 1


def test_it_says_which_rank_would_have_which_layers(
    home: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_choice, "HEAD_BYTES", 0)
    spec: dict[str, Any] = {"model": str(tiny_model), "data": {"path": str(pairs_file)}, "ranks": 2}
    estimate = estimate_job(home, **spec, reference={"pipeline": True})
    assert estimate.pipeline is not None
    assert [(each.begin, each.end, each.where) for each in estimate.pipeline.stages] == [
        (0, 1, "this machine"),
        (1, 2, "this machine"),
    ]
    assert not estimate.pipeline.is_far
    assert estimate_job(home, **spec).pipeline is None
    weights = memory.count_bytes(loading.load_lazily(ModelSource(str(tiny_model))).parameters())
    monkeypatch.setattr(memory, "machine", lambda: (int(1.8 * weights), int(1.8 * weights)))
    assert estimate_job(home, **spec).pipeline == estimate.pipeline
    unwanted = estimate_job(home, **spec, reference={"pipeline": False})
    assert (unwanted.pipeline, unwanted.windows) == (None, None), "one rank, of all the memory, holds it"
    monkeypatch.setattr(memory, "machine", lambda: (300_000, 300_000))
    with pytest.raises(JobError, match=r"^reference\.pipeline: the weights"):
        estimate_job(home, **spec, reference={"pipeline": True})
    assert estimate_job(home, **spec).windows is not None


def test_a_near_reference_is_named_with_the_fields_that_differ(
    home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path
) -> None:
    run_precompute(make_job(home, model=str(tiny_model), data={"path": str(pairs_file)}))
    other = tiny.build_llama(tmp_path / "other")
    tiny.build_tokenizer(other, tiny.CHATML.replace("assistant", "helper"))
    (near,) = estimate_job(home, model=str(other), data={"path": str(pairs_file)}).near
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


class TestALiveReference:
    """What it would take, by the tokens that are run."""

    @staticmethod
    def compare(home: Path, model: Path, pairs: Path, **more: Any) -> LiveComparison | None:
        document = {"model": str(model), "data": {"path": str(pairs), "validation": 0.0}, "training": {}} | more
        return estimate_job(home, **document).live

    def test_takes_as_long_as_a_pass_where_no_pairs_share_a_prompt(
        self, home: Path, tiny_model: Path, tmp_path: Path
    ) -> None:
        rows = [{"prompt": f"Count {n}?", "chosen": "Yes, gladly.", "rejected": "No, never."} for n in range(4)]
        pairs = write_rows(tmp_path / "unlike.jsonl", rows)
        estimate = self.compare(home, tiny_model, pairs)
        assert estimate is not None
        assert estimate.beside_s == pytest.approx(estimate.before_s)
        assert (estimate.opening_s, estimate.chosen, estimate.epochs) == (None, False, 1.0)

    def test_runs_a_shared_prompt_for_each_pair(self, home: Path, tiny_model: Path, tmp_path: Path) -> None:
        rows = [{"prompt": "Count!" * 20, "chosen": f"Yes: {n}.", "rejected": f"No: {n}."} for n in range(4)]
        estimate = self.compare(home, tiny_model, write_rows(tmp_path / "alike.jsonl", rows))
        assert estimate is not None
        assert 2 * estimate.before_s < estimate.beside_s < 4 * estimate.before_s

    def test_unkept_runs_in_each_epoch(self, home: Path, tiny_model: Path, pairs_file: Path) -> None:
        training = {"training": {"epochs": 5}, "reference": {"live": "adapter_off", "store": False}}
        estimate = self.compare(home, tiny_model, pairs_file, **training)
        assert estimate is not None
        assert estimate.chosen
        assert estimate.unkept_s >= 5 * estimate.beside_s

    def test_saves_what_a_pass_took_to_open_here(self, home: Path, tiny_model: Path, pairs_file: Path) -> None:
        job = make_job(home, model=str(tiny_model), data={"path": str(pairs_file), "max_length": 40})
        outcome = run_precompute(job)
        job.run.write_outcome("precompute", outcome)
        estimate = self.compare(home, tiny_model, pairs_file)
        assert estimate is not None
        assert estimate.opening_s == pytest.approx(outcome.summary.seconds - outcome.summary.scoring_seconds)

    @pytest.mark.parametrize(
        "more",
        [
            {"training": {"fine_tune": "full"}},
            {"training": {"qat": {}}},
            {"loss": {"name": "cpo"}},
            {"reference": {"model": "MODEL"}},
        ],
    )
    def test_is_not_offered_where_it_cannot_be(
        self, home: Path, tiny_model: Path, pairs_file: Path, more: dict[str, Any]
    ) -> None:
        settings = {name: {"model": str(tiny_model)} if name == "reference" else value for name, value in more.items()}
        assert self.compare(home, tiny_model, pairs_file, **settings) is None
