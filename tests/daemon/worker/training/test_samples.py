"""Answers of the policy while it trains: side by side with its start's, in no gradient's way, and never a reason to fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx import nn

from prefd.daemon.terminal.report import phase_facts
from prefd.daemon.worker.errors import Stopped
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.sampling.generator import Generator
from prefd.daemon.worker.training.samples import MOST_DEATHS, Samples
from support.array_memory import count_held_bytes
from support.jobs_on_disk import StopAtLook, adapter_digest, again, finished, job, run_training
from support.sample_pairs import PAIRS

TRAINING = {"iters": 4, "steps_per_eval": 2, "save_every": 9, "lora": {"rank": 4, "dropout": 0.2}}
ASKED = {"prompts": 2, "max_tokens": 5, "temperature": 0.7, "seed": 3}
NEVER = StopAtLook(10**9)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> RunningJob:
    """A job that draws answers, trained to its end."""
    place = tmp_path_factory.mktemp("samples")
    pairs = place / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    return finished(job(place / "home", tiny_model, pairs, training=TRAINING, eval_samples=ASKED))


def make_twin(running_job: RunningJob, job_id: int, settings: dict[str, Any] | None, **training: Any) -> RunningJob:
    """A job of the same data, which has been scored already."""
    more = {} if settings is None else {"eval_samples": settings}
    pairs = Path(running_job.spec.data.sources[0].path)
    return job(
        running_job.home.root, Path(running_job.spec.model), pairs, job_id=job_id, training=TRAINING | training, **more
    )


def open_samples(running_job: RunningJob) -> tuple[Samples, nn.Module]:
    drawing = Samples.open(running_job, 1, NEVER)
    assert drawing is not None
    return drawing, loading.load(running_job.policy)


def list_texts(running_job: RunningJob) -> list[tuple[int, int, str | None, str | None]]:
    return [
        (each.step, each.number, each.start and each.start.text, each.answer and each.answer.text)
        for each in running_job.run.samples.read()
    ]


def test_training_ends_bit_for_bit_as_without_samples(sampled: RunningJob) -> None:
    plain = make_twin(sampled, 2, None)
    run_training(plain)
    assert adapter_digest(plain) == adapter_digest(sampled)
    assert not plain.run.samples.path.exists()


def test_answers_of_policy_and_start_stand_side_by_side(sampled: RunningJob) -> None:
    drawn = sampled.run.samples.read()
    assert [(each.step, each.number) for each in drawn] == [(0, 1), (0, 2), (2, 1), (2, 2), (4, 1), (4, 2)]
    starts = {each.number: each.answer for each in drawn if each.step == 0}
    assert all(each.start == (starts[each.number] if each.step else None) for each in drawn)
    assert all(each.answer and 0 < each.answer.tokens <= 5 for each in drawn)
    assert len({each.prompt for each in drawn}) == 2
    page = sampled.run.samples.read_page(1)
    assert (page.steps, {each.step for each in page.samples}) == ([0, 2, 4], {4})


def test_a_resumed_run_repeats_and_loses_no_answer(sampled: RunningJob) -> None:
    """It ends in the midst of a sampling; a line past its checkpoint and one that was cut are what a kill may leave."""
    running_job = make_twin(sampled, 3, ASKED)
    with pytest.raises(Stopped, match="stopped in a sample after step 2 of 4; the checkpoint of step 2 is kept"):
        run_training(running_job, StopAtLook(20))
    assert 2 <= len(list_texts(running_job)) < 4
    later = sampled.run.samples.read()[-1]
    running_job.run.samples.append(later.model_copy(update={"answer": None, "fault": "of a life that is over"}))
    with running_job.run.samples.path.open("a") as file:
        file.write('{"step": 4, "numb')
    assert run_training(again(running_job)).summary.samples.answers == 6
    assert list_texts(running_job) == list_texts(sampled)
    assert adapter_digest(running_job) == adapter_digest(sampled)


def test_a_failing_generation_is_told_and_fails_no_job(sampled: RunningJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: Any) -> Iterator[Any]:
        raise RuntimeError("[metal::malloc] Attempting to allocate 99 bytes which is greater than the maximum")

    monkeypatch.setattr(Generator, "_generate", run_out)
    running_job = make_twin(sampled, 4, {"prompts": 1}, iters=1)
    outcome = run_training(running_job)
    assert outcome.ok
    assert "2 answers of eval_samples could not be drawn, the first after step 0" in outcome.summary.warnings[-1]
    assert [each.answer for each in running_job.run.samples.read()] == [None] * 2
    facts = dict(phase_facts("training", outcome, None))
    assert str(facts["samples"]).startswith("0 answers after 2 steps took")
    assert "2 could not be drawn" in str(facts["samples"])


def test_a_gpu_that_ended_a_pass_is_left_to_another_worker_which_draws_the_answer(
    sampled: RunningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_ended(*_: Any) -> Iterator[Any]:
        raise RuntimeError("[METAL] Command buffer execution failed: Impacting Interactivity")

    running_job = make_twin(sampled, 18, {"prompts": 1, "max_tokens": 2})
    drawing, model = open_samples(running_job)
    with monkeypatch.context() as patch:
        patch.setattr(Generator, "_generate", be_ended)
        with pytest.raises(RuntimeError, match="Impacting Interactivity"):
            drawing.draw_due(0, False, model)
    assert drawing.log.read() == []
    following, model = open_samples(running_job)
    following.draw_due(0, False, model)
    assert [each.fault for each in following.log.read()] == [""]


def test_an_answer_that_workers_die_of_is_left_out(sampled: RunningJob) -> None:
    drawing, model = open_samples(make_twin(sampled, 5, {"prompts": 2, "max_tokens": 2}))
    for deaths in range(MOST_DEATHS):
        assert drawing.log.note_attempt(0, 1) == deaths
    drawing.draw_due(0, False, model)
    assert [each.fault for each in drawing.log.read()] == ["2 workers have ended while they drew it", ""]


def test_a_sampling_ends_when_its_time_is_over(sampled: RunningJob) -> None:
    drawing, model = open_samples(make_twin(sampled, 6, {"prompts": 2, "seconds": 1e-9}))
    drawing.draw_due(0, False, model)
    answers = [each.answer for each in drawing.log.read()]
    assert [answer and (answer.tokens, answer.ended) for answer in answers] == [(1, "time")] * 2
    assert "2 cut for time" in drawing.summarize().line


def test_memory_is_given_back_and_the_model_trains_on(sampled: RunningJob) -> None:
    drawing, model = open_samples(make_twin(sampled, 7, {"prompts": 1, "max_tokens": 20}))
    model.train()
    mx.clear_cache()
    before = count_held_bytes()
    drawing.draw_due(0, False, model)
    assert (mx.get_active_memory(), mx.get_cache_memory()) == (before, 0)
    assert model.training


def test_other_prompts_than_those_it_began_with_are_told(sampled: RunningJob) -> None:
    running_job = make_twin(sampled, 8, {"prompts": 1, "max_tokens": 2})
    drawing, model = open_samples(running_job)
    drawing.draw_due(0, False, model)
    assert drawing.resume_after(0) is None
    first = drawing.prompts[0]
    drawing.prompts = [type(first)(first.place, "another", first.tokens)]
    assert "not those that the job began with" in str(drawing.resume_after(0))
