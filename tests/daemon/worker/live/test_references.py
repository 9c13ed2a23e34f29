"""What a client asks of a reference is in the cache that jobs read, and once it is there no model runs for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prefd.daemon.timing import Timing
from prefd.daemon.worker.live.references import References
from prefd.daemon.worker_tasks.live_requests import (
    AdamParams,
    ComputeLogprobsRequest,
    ForwardBackwardRequest,
    ForwardRequest,
    OptimStepRequest,
    SampleRequest,
    SamplingParams,
    SaveSamplerRequest,
)
from support.jobs_on_disk import job, run_precompute
from support.live_sessions import LiveFolderOnDisk, make_datum, make_session

IDS = [5, 6, 7, 8, 9, 10, 11]
NOTHING_TRAINED: Any = {"lora": None}


def list_counts(session: LiveFolderOnDisk) -> list[tuple[int, int]]:
    return [(result["ref_hits"], result["ref_scored"]) for result in session.results() if "ref_hits" in result]


def test_an_untouched_snapshot_is_the_base_model_and_a_trained_one_is_not(home: Path, tiny_model: Path) -> None:
    session = make_session(home, tiny_model)
    folder = session.job.run.live.sampler_weights
    session.ask(SaveSamplerRequest, name="start")
    session.ask(ComputeLogprobsRequest, tokens=IDS)
    session.ask(ForwardBackwardRequest, data=[make_datum(IDS)])
    session.ask(OptimStepRequest, adam_params=AdamParams(learning_rate=1e-2))
    session.ask(SaveSamplerRequest, name="later")
    session.ask(ComputeLogprobsRequest, tokens=IDS, path=str(folder / "start"))
    session.ask(ComputeLogprobsRequest, tokens=IDS, path=str(folder / "later"))
    session.ask(ForwardRequest, data=[make_datum(IDS)])
    session.serve()
    base, later, policy = session.result(2), session.result(7), session.result(8)
    assert list_counts(session) == [(0, 1), (1, 0), (0, 1)]
    assert session.result(6)["prompt_logprobs"] == base["prompt_logprobs"]
    assert base["prompt_logprobs"][0] is None
    start = session.result(3)["loss_fn_outputs"][0]["logprobs"]
    assert base["prompt_logprobs"][1:] == pytest.approx(start, abs=1e-6)
    assert later["prompt_logprobs"][1:] == pytest.approx(policy["loss_fn_outputs"][0]["logprobs"], abs=1e-6)
    assert [line["ref_scored"] for line in session.job.run.read_metrics()] == [1]


def test_a_second_session_scores_nothing_again(home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (make_session(home, tiny_model, job_id=number, **NOTHING_TRAINED) for number in (1, 2))
    for session in (first, second):
        session.ask(ComputeLogprobsRequest, tokens=IDS)
        session.ask(SampleRequest, tokens=IDS[:4], params=SamplingParams(max_tokens=0), prompt_logprobs=True)
        session.serve()
    assert list_counts(first) == [(0, 1), (0, 1)]
    assert list_counts(second) == [(1, 0), (1, 0)]
    values = [[result["prompt_logprobs"] for result in session.results()] for session in (first, second)]
    assert values[0] == values[1]


def test_jobs_and_clients_share_what_was_scored_of_the_same_tokens(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    scored = job(home, tiny_model, pairs_file, job_id=1)
    run_precompute(scored)
    sides = [side for example in scored.examples for side in (example.chosen, example.rejected)]
    client = make_session(home, tiny_model, job_id=2, **NOTHING_TRAINED)
    for side in sides:
        client.ask(ComputeLogprobsRequest, tokens=side.ids.tolist(), prompt_logprobs_last_n=len(side.ids) - side.start)
    client.serve()
    assert set(list_counts(client)) == {(1, 0)}
    for side, result in zip(sides, client.results()):
        (stored,) = scored.store.get([scored.key(side)])
        assert result["prompt_logprobs"][: side.start] == [None] * side.start
        assert np.array_equal(np.float32(result["prompt_logprobs"][side.start :]), stored)


def test_what_a_client_had_scored_a_job_need_not_score(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    later = job(home, tiny_model, pairs_file, job_id=1)
    sides = {side for example in later.examples for side in (example.chosen, example.rejected)}
    client = make_session(home, tiny_model, job_id=2, **NOTHING_TRAINED)
    for side in sides:
        client.ask(ComputeLogprobsRequest, tokens=side.ids.tolist(), prompt_logprobs_last_n=len(side.ids) - side.start)
    client.serve()
    assert run_precompute(later).summary.scored == 0


def test_512_calls_at_once_are_few_looks_and_few_segments(
    home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    answer = References.answer
    monkeypatch.setattr(
        References,
        "answer",
        lambda references, questions: looks.append(len(questions)) or answer(references, questions),
    )
    session = make_session(home, tiny_model, **NOTHING_TRAINED)
    generator = np.random.default_rng(0)
    for _ in range(512):
        session.ask(ComputeLogprobsRequest, tokens=generator.integers(3, 300, 6).tolist())
    session.serve()
    assert looks == [512]
    assert len(session.job.cache.references()) == 1
    assert session.job.cache.references()[0].segments <= 2


def test_one_question_that_cannot_be_answered_does_not_spoil_those_beside_it(home: Path, tiny_model: Path) -> None:
    session = make_session(home, tiny_model, **NOTHING_TRAINED)
    for tokens in (IDS, [5, 99_999], [], IDS[:1], IDS[::-1]):
        session.ask(ComputeLogprobsRequest, tokens=tokens)
    session.ask(ComputeLogprobsRequest, tokens=IDS, path=str(home / "nowhere"))
    session.serve()
    assert [result["ok"] for result in session.results()] == [True, False, False, True, True, False]
    assert "token 99999 is not in the vocabulary" in session.result(2)["error"]
    assert session.result(4)["prompt_logprobs"] == [None]
    assert "nowhere" in session.result(6)["error"]


def test_a_question_waits_for_those_that_come_right_behind_it(
    home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(home, tiny_model, **NOTHING_TRAINED)
    session.ask(ComputeLogprobsRequest, tokens=IDS)
    looks: list[int] = []
    answer = References.answer
    monkeypatch.setattr(
        References,
        "answer",
        lambda references, questions: looks.append(len(questions)) or answer(references, questions),
    )
    session.timing = Timing(session_gather=10.0, session_gather_most=0.0)
    session.ask(ComputeLogprobsRequest, tokens=IDS[:3])
    session.serve()
    assert looks == [2]
