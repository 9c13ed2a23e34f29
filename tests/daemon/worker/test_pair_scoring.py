"""Each pair under the trained policy: the numbers of the job's own evaluation, and those of the definition in float64."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from prefd.daemon.runs.pair_files import PairFiles
from prefd.daemon.runs.pair_table import read_page
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from support.full_logits import naive
from support.jobs_on_disk import job, make_job
from support.sample_pairs import PAIRS
from support.scored_pairs import page, scored, trained

LEARNING = {"epochs": 3, "learning_rate": 3e-3}


def last_evaluation(running_job: RunningJob, step: int | None = None) -> dict[str, float]:
    lines = [line for line in running_job.run.read_metrics() if "eval_loss" in line and step in (None, line["step"])]
    return lines[-1]


SPECS: dict[str, dict[str, Any]] = {
    "sigmoid": {"loss": "sigmoid"},
    "dpop": {"loss": "dpop"},
    "cpo": {"loss": "cpo"},
    "full": {"loss": "hinge", "training": {"fine_tune": "full", "learning_rate": 1e-4}},
    "quantized": {"loss": "ipo", "training": {"quantize": {"bits": 4, "group_size": 64}}},
    "qat": {"loss": "sigmoid", "training": {"qat": {"bits": 4, "group_size": 32}}},
    "best": {
        "loss": "sigmoid",
        "training": {"steps_per_eval": 1, "load_best_model_at_end": True, "best_checkpoint": {"metric": "eval_loss"}},
    },
}


THOROUGH = ("sigmoid", "dpop", "quantized")
"""Those that the others show too."""


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> RunningJob:
    """A job that has learnt a little, so that some of its pairs are still wrong, with its pairs scored. No test changes it."""
    folder = tmp_path_factory.mktemp("learnt")
    pairs = folder / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS), encoding="utf-8")
    running_job = trained(job(folder / "home", tiny_model, pairs, training={"iters": 2, "learning_rate": 1e-3}))
    scored(running_job)
    return running_job


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.thorough] if name in THOROUGH else []) for name in SPECS]
)
def test_the_means_are_those_of_the_jobs_own_evaluation(
    home: Path, tiny_model: Path, pairs_file: Path, name: str
) -> None:
    spec = dict(SPECS[name])
    training = LEARNING | spec.pop("training", {})
    running_job = trained(job(home, tiny_model, pairs_file, spec.pop("loss"), training=training))
    head = scored(running_job)
    evaluation = last_evaluation(running_job, head.scored_at_step)
    assert head.held_out is not None
    assert head.held_out.accuracy == pytest.approx(evaluation["eval_rewards/accuracies"], abs=1e-6)
    assert head.held_out.margin == pytest.approx(evaluation["eval_rewards/margins"], abs=1e-6)
    assert head.held_out.loss == pytest.approx(evaluation["eval_loss"], rel=1e-6)
    shown = page(running_job, only=["held_out"])
    assert np.mean([pair.logps["chosen"] for pair in shown.pairs]) == pytest.approx(evaluation["eval_logps/chosen"])


def test_every_pair_is_what_full_logits_in_float64_give(learnt: RunningJob) -> None:
    """margin = β · ((log π(y_c) − log ref(y_c)) − (log π(y_r) − log ref(y_r))), with nothing of the engine or the cache."""
    running_job = learnt
    pairs = {pair.row: pair for pair in page(running_job, limit=None).pairs}
    assert len(pairs) == len(PAIRS)
    with mx.stream(mx.cpu):
        policy, reference = (
            loading.load(source)
            for source in (replace(running_job.policy, adapter=running_job.run.adapter), running_job.reference)
        )
        for model in (policy, reference):
            model.set_dtype(mx.float64)
        for example in running_job.examples:
            pair = pairs[example.row]
            sums = [
                naive(model, side).sum() for model in (policy, reference) for side in (example.chosen, example.rejected)
            ]
            assert pair.ref is not None
            assert [
                pair.logps["chosen"],
                pair.logps["rejected"],
                pair.ref["chosen"],
                pair.ref["rejected"],
            ] == pytest.approx(sums, abs=2e-4)
            assert pair.margin == pytest.approx(0.1 * ((sums[0] - sums[2]) - (sums[1] - sums[3])), abs=1e-4)
            assert pair.loss == pytest.approx(np.log1p(np.exp(-(pair.margin or 0))), abs=1e-5)
            assert pair.held_out is (example in running_job.data.held_out)


def test_texts_places_and_tokens_are_those_that_were_trained_on(learnt: RunningJob) -> None:
    running_job = learnt
    first = page(running_job, order="row", only=["train"]).pairs[0]
    example = running_job.data.train[0]
    assert (first.row, first.place) == (example.row, str(example))
    assert PAIRS[example.row - 1]["prompt"] in first.prompt
    assert first.chosen_text == PAIRS[example.row - 1]["chosen"] + "<|im_end|>"
    assert first.tokens == {
        "prompt": example.chosen.start,
        "chosen": len(example.chosen) - example.chosen.start,
        "rejected": len(example.rejected) - example.rejected.start,
    }


def test_a_page_is_sorted_by_margin_and_holds_what_is_asked_for(learnt: RunningJob) -> None:
    running_job, head = learnt, PairFiles(learnt.run).read_head()
    assert head is not None
    everything = page(running_job, limit=None)
    margins = [pair.margin or 0.0 for pair in everything.pairs]
    assert margins == sorted(margins)
    wrong = page(running_job, only=["wrong"], limit=None)
    assert 0 < wrong.total < len(PAIRS)
    assert [pair.row for pair in wrong.pairs] == [pair.row for pair in everything.pairs if (pair.margin or 0) <= 0]
    assert wrong.total == head.wrong == everything.wrong
    part = page(running_job, offset=2, limit=3)
    assert (part.total, [pair.row for pair in part.pairs]) == (8, [pair.row for pair in everything.pairs[2:5]])
    assert [pair.row for pair in page(running_job, order="best", limit=None).pairs] == [
        pair.row for pair in everything.pairs[::-1]
    ]
    counts = head.histogram
    assert sum(counts.train) + sum(counts.held_out) == len(PAIRS)
    assert counts.start <= margins[0]


def test_losses_that_say_less_of_a_pair_are_told(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    running_job = trained(job(home, tiny_model, pairs_file, "cpo", training={"iters": 1}))
    head = scored(running_job)
    assert head.compares_with is None
    assert head.notes == ["cpo takes no reference: a margin says what the policy alone prefers"]
    assert all(pair.ref is None for pair in page(running_job).pairs)
    loss = [{"name": "sft", "weight": 0.5}, {"name": "sigmoid", "beta": 0.3}]
    spec = {
        "model": str(tiny_model),
        "data": {"path": str(pairs_file), "validation": 0.25},
        "training": {"iters": 2, "batch_size": 2},
    }
    mixed = trained(make_job(home, 2, **spec, loss=loss))
    head = scored(mixed)
    assert head.notes == [
        "rewards and margins are those of sigmoid, the first loss of the mixture that compares a pair; the loss is of all"
    ]
    assert head.held_out is not None
    assert head.held_out.loss == pytest.approx(last_evaluation(mixed)["eval_loss"], rel=1e-6)


def test_prompts_that_pairs_share_change_nothing(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    rows = [pair | {"prompt": f"Tell me. {index // 3}"} for index, pair in enumerate(PAIRS)]
    path = tmp_path / "shared.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    running_job = trained(job(home, tiny_model, path, training=LEARNING))
    head = scored(running_job)
    assert head.held_out is not None
    assert head.held_out.margin == pytest.approx(last_evaluation(running_job)["eval_rewards/margins"], abs=1e-6)


def test_pairs_that_have_changed_since_are_refused(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    running_job = trained(job(home, tiny_model, pairs_file, training={"iters": 1}))
    pairs_file.write_text(pairs_file.read_text().replace("Four.", "Five."))
    with pytest.raises(JobError, match=r"the pairs are not those that job 1 was trained on: .*`prefd retry 1 --fresh`"):
        scored(running_job)
    assert page(running_job).state == "none"


def test_a_job_without_a_policy_or_with_an_empty_cache_is_refused(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    running_job = job(home, tiny_model, pairs_file, training={"iters": 1})
    with pytest.raises(JobError, match="job 1 has trained no policy to the end"):
        scored(running_job)
    running_job = trained(running_job)
    shutil.rmtree(running_job.home.cache)
    with pytest.raises(JobError, match="is not in the reference cache"):
        scored(running_job)
    (running_job.run.adapter / "adapters.safetensors").unlink()
    with pytest.raises(JobError, match=r"adapters\.safetensors is not there"):
        scored(running_job)


def test_other_weights_than_the_job_started_from_are_refused(
    home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    running_job = trained(job(home, model, pairs_file, "cpo", training={"iters": 1}))
    weights = mx.load(str(model / "model.safetensors"))
    assert isinstance(weights, dict)
    mx.save_safetensors(
        str(model / "model.safetensors"),
        {name: value * 1.01 for name, value in weights.items()},
        metadata={"format": "mlx"},
    )
    with pytest.raises(JobError, match=r"the weights of .* are not those that job 1 was trained from"):
        scored(running_job)


def test_a_job_of_an_earlier_version_is_scored_with_a_remark(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    running_job = trained(job(home, tiny_model, pairs_file, training={"iters": 1}))
    outcome = running_job.run.outcome("training")
    assert outcome is not None
    summary = outcome.summary.model_copy(update={"pairs_sha256": "", "weights_sha256": ""})
    running_job.run.write_outcome("training", outcome.model_copy(update={"summary": summary}))
    assert "kept no digest of its pairs" in scored(running_job).notes[-1]


def test_a_table_of_another_scoring_than_its_heads_is_not_shown(learnt: RunningJob, tmp_path: Path) -> None:
    files = PairFiles(RunDir(tmp_path))
    shutil.copytree(PairFiles(learnt.run).folder, files.folder)
    assert files.read_state(1).state == "done"
    files.table.write_bytes(files.table.read_bytes()[:-1])
    state = files.read_state(1)
    assert (state.state, read_page(files, state).pairs) == ("none", [])
