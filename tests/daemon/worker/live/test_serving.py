"""A session does its requests in their order, refuses with a sentence what it cannot do, and goes on."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import numpy as np
import pytest
from mlx_lm.generate import main as generate

from prefd.daemon.machine.files import write_json
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.live import serving
from prefd.daemon.worker_tasks.live_requests import (
    AdamParams,
    ComputeLogprobsRequest,
    Datum,
    ForwardBackwardRequest,
    ForwardRequest,
    GetInfoRequest,
    LiveRequest,
    LoadStateRequest,
    OptimStepRequest,
    SampleRequest,
    SamplingParams,
    SaveSamplerRequest,
    SaveStateRequest,
)
from support.live_sessions import load, make_datum, make_session

IDS = [5, 6, 7, 8, 9, 10, 11]
DATA = [make_datum(IDS)]
STEP = AdamParams(learning_rate=1e-2)


def test_saved_sampler_weights_are_an_adapter_that_mlx_lm_loads_as_it_is(home: Path, tiny_model: Path) -> None:
    session = make_session(home, tiny_model)
    session.ask(ForwardBackwardRequest, data=DATA)
    session.ask(OptimStepRequest, adam_params=STEP)
    session.ask(SaveSamplerRequest, name="trained")
    session.ask(ForwardRequest, data=DATA)
    session.serve()
    model, _ = mlx_lm.load(str(tiny_model), adapter_path=session.result(3)["path"])
    logits = model(mx.array([IDS[:-1]]))[0].astype(mx.float32)
    logprobs = np.array(logits - mx.logsumexp(logits, -1, keepdims=True))
    expected = logprobs[np.arange(len(IDS) - 1), IDS[1:]]
    assert session.result(4)["loss_fn_outputs"][0]["logprobs"] == pytest.approx(expected, abs=1e-5)


def test_a_session_that_begins_from_a_state_goes_on_as_the_one_that_saved_it(home: Path, tiny_model: Path) -> None:
    first = make_session(home, tiny_model, job_id=1)
    for _ in range(2):
        first.ask(ForwardBackwardRequest, data=DATA)
        first.ask(OptimStepRequest, adam_params=STEP)
    first.ask(SaveStateRequest, name="two")
    first.serve()
    second = make_session(home, tiny_model, job_id=2, from_state=first.result(5)["path"])
    for session in (first, second):
        session.ask(ForwardBackwardRequest, data=DATA)
        session.ask(OptimStepRequest, adam_params=STEP)
        session.ask(ForwardRequest, data=DATA)
        session.serve()
    for own, other in zip(first.results()[5:], second.results()):
        assert {**own, "n": 0} == {**other, "n": 0}
    third = make_session(home, tiny_model, job_id=3, from_state=first.result(5)["path"], with_optimizer=False)
    third.ask(ForwardBackwardRequest, data=DATA)
    third.ask(OptimStepRequest, adam_params=STEP)
    third.serve()
    assert third.result(1)["metrics"] == first.result(6)["metrics"]
    assert third.result(2)["metrics"]["optim/step:last"] == 1


REFUSED: list[tuple[type[LiveRequest], dict[str, Any], str]] = [
    (ForwardRequest, {"data": DATA, "loss_fn": "ppo"}, "loss_fn 'ppo' is not supported here; use cross_entropy"),
    (
        ForwardRequest,
        {"data": DATA, "loss_fn_config": {"clip": 1}},
        "cross_entropy takes none here, and clip would",
    ),
    (ForwardRequest, {"data": []}, "data is empty"),
    (ForwardRequest, {"data": [Datum(tokens=[5, 6], targets=[7, 8])]}, "target 0 is 7 and the next token is 6"),
    (ForwardRequest, {"data": [Datum(tokens=[5, 6], targets=[6])]}, "2 tokens and 1 targets"),
    (ForwardRequest, {"data": [Datum(tokens=[5, -6], targets=[-6, 8])]}, "token -6 is not in the vocabulary"),
    (ForwardRequest, {"data": [make_datum(IDS, [1.0])]}, "6 targets and 1 weights"),
    (
        ForwardRequest,
        {"data": DATA, "loss_fn": "importance_sampling"},
        "takes logprobs and advantages .* is missing",
    ),
    (
        ForwardRequest,
        {"data": [Datum(tokens=[5], targets=[6], advantages=[1.0])]},
        "advantages would be passed over",
    ),
    (OptimStepRequest, {}, "no gradient has accumulated"),
    (SaveStateRequest, {"name": "../elsewhere"}, "cannot name a checkpoint"),
    (LoadStateRequest, {"path": "/nowhere/at/all"}, "there is no checkpoint at /nowhere"),
    (SampleRequest, {"tokens": IDS}, "max_tokens is not given"),
]


def test_what_cannot_be_done_is_refused_with_a_sentence_and_the_session_goes_on(home: Path, tiny_model: Path) -> None:
    session = make_session(home, tiny_model)
    for kind, values, _ in REFUSED:
        session.ask(kind, **values)
    session.ask(GetInfoRequest)
    session.serve()
    for (_, _, sentence), result in zip(REFUSED, session.results()):
        assert (result["ok"], result["category"]) == (False, "user")
        assert re.search(sentence, result["error"]), result["error"]
    assert session.result(session.last_request)["ok"]


def test_numbers_that_are_none_are_told_and_a_saved_state_is_gone_back_to(home: Path, tiny_model: Path) -> None:
    session = make_session(home, tiny_model)
    session.ask(SaveStateRequest, name="good")
    session.ask(ForwardBackwardRequest, data=DATA)
    session.ask(OptimStepRequest, adam_params=AdamParams(learning_rate=1e30))
    session.ask(OptimStepRequest, adam_params=AdamParams(learning_rate=1e15))
    session.ask(ForwardBackwardRequest, data=DATA)
    session.ask(OptimStepRequest)
    session.ask(LoadStateRequest, path=str(session.job.run.live.weights / "good"), with_optimizer=True)
    session.ask(ForwardBackwardRequest, data=DATA)
    session.serve()
    assert [result["ok"] for result in session.results()] == [True, True, False, True, False, False, True, True]
    assert "makes weights that are not finite; the step was not taken" in session.result(3)["error"]
    assert "not finite, and was not added to the accumulated one; lower the learning rate" in session.result(5)["error"]
    assert session.result(8)["metrics"] == session.result(2)["metrics"]


def test_a_request_that_cannot_be_read_is_answered_too(home: Path, tiny_model: Path) -> None:
    session = make_session(home, tiny_model)
    session.ask(GetInfoRequest)
    session.job.run.live.request(1).write_text('{"n": 1, "kind": "divine"}')
    session.ask(GetInfoRequest)
    session.serve()
    assert session.result(1)["error"].startswith("request 1 cannot be read: ")
    assert session.result(2)["rank"] == 4


def test_a_name_is_taken_once_unless_it_may_be_overwritten(home: Path, tiny_model: Path) -> None:
    session = make_session(home, tiny_model)
    for kind in (SaveStateRequest, SaveSamplerRequest):
        for overwrite in (False, False, True):
            session.ask(kind, name="one", overwrite=overwrite)
    session.serve()
    assert [result["ok"] for result in session.results()] == [True, False, True] * 2
    assert "checkpoint one is there already" in session.result(2)["error"]


def test_a_state_of_another_adapter_is_refused(home: Path, tiny_model: Path) -> None:
    other = make_session(home, tiny_model, job_id=1, lora={"rank": 8})
    other.ask(SaveStateRequest, name="wide")
    other.serve()
    session = make_session(home, tiny_model, job_id=2)
    session.ask(LoadStateRequest, path=other.result(1)["path"])
    session.serve()
    assert "is of another adapter" in session.result(1)["error"]


def test_samples_repeat_with_their_seed_and_end_where_they_are_told_to(home: Path, tiny_model: Path) -> None:
    session = make_session(home, tiny_model, lora=None)
    for seed in (1, 1, 2):
        session.ask(SampleRequest, tokens=IDS, num_samples=2, params=SamplingParams(max_tokens=5, seed=seed))
    greedy = SamplingParams(max_tokens=6, temperature=0.0)
    session.ask(SampleRequest, tokens=IDS, params=greedy)
    session.serve()
    first, again, other, drawn = (result["sequences"] for result in session.results())
    assert first == again
    assert first[0]["tokens"] != first[1]["tokens"]
    assert first != other
    assert [len(each["tokens"]) for each in first] == [5, 5]
    tokens = drawn[0]["tokens"]
    place = next(index for index in range(1, 6) if tokens[index] not in tokens[:index])
    session.ask(SampleRequest, tokens=IDS, params=greedy.model_copy(update={"stop": [tokens[place]]}))
    session.ask(ComputeLogprobsRequest, tokens=[*IDS, *tokens])
    session.serve()
    (ended,) = session.result(5)["sequences"]
    assert (ended["stop_reason"], ended["tokens"]) == ("stop", tokens[: place + 1])
    assert drawn[0]["logprobs"] == pytest.approx(session.result(6)["prompt_logprobs"][len(IDS) :], abs=1e-4)


def test_settings_at_their_ends_mean_what_they_say(home: Path, tiny_model: Path) -> None:
    session = make_session(home, tiny_model, lora=None)
    free = SamplingParams(max_tokens=3, seed=1)
    for params in (free, free.model_copy(update={"top_k": 10**6})):  # all tokens, or more than there are
        session.ask(SampleRequest, tokens=IDS, params=params)
    for params in ({"temperature": 0.0}, {"top_p": 0.0}, {"top_k": 1}):  # the likeliest, however it is asked for
        session.ask(SampleRequest, tokens=IDS, params=free.model_copy(update=params))
    session.serve()
    tokens = [result["sequences"][0]["tokens"] for result in session.results()]
    assert tokens[0] == tokens[1]
    assert tokens[2] == tokens[3] == tokens[4] != tokens[0]


def test_what_is_longer_than_the_model_was_made_for_is_refused(home: Path, tiny_model: Path, tmp_path: Path) -> None:
    short = tmp_path / "short"
    shutil.copytree(tiny_model, short)
    config = json.loads((short / "config.json").read_text()) | {"max_position_embeddings": 6}
    (short / "config.json").write_text(json.dumps(config))
    session = make_session(home, short)
    session.ask(ForwardRequest, data=[make_datum(IDS)])
    session.ask(ComputeLogprobsRequest, tokens=IDS)
    session.ask(ForwardRequest, data=[make_datum(IDS[:6])])
    session.serve()
    assert [result["ok"] for result in session.results()] == [False, False, True]
    assert re.search(r"data\[0\] has 7 tokens, and .* was made for 6; make it shorter", session.result(1)["error"])


def test_mlx_lms_own_command_generates_with_saved_sampler_weights(
    home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session = make_session(home, tiny_model)
    session.ask(SaveSamplerRequest, name="trained")
    session.serve()
    arguments = [
        "--model",
        str(tiny_model),
        "--adapter-path",
        session.result(1)["path"],
        "--prompt",
        "Hello",
        "-m",
        "3",
    ]
    monkeypatch.setattr("sys.argv", ["mlx_lm.generate", *arguments])
    generate()
    assert re.search(r"Generation: \d+ tokens", capsys.readouterr().out)


def test_a_sample_ends_behind_a_text(home: Path, tiny_model: Path) -> None:
    session = make_session(home, tiny_model, lora=None)
    session.ask(SampleRequest, tokens=IDS, params=SamplingParams(max_tokens=8, temperature=0.0))
    session.serve()
    tokens = session.result(1)["sequences"][0]["tokens"]
    tokenizer = load(session).questions.generator.tokenizer
    text = tokenizer.decode(tokens[:3])
    session.ask(SampleRequest, tokens=IDS, params=SamplingParams(max_tokens=8, temperature=0.0, stop=[text]))
    session.serve()
    (ended,) = session.result(2)["sequences"]
    assert ended["stop_reason"] == "stop"
    assert text in tokenizer.decode(ended["tokens"])


def test_no_weight_of_the_base_is_in_memory_twice(home: Path, tiny_model: Path) -> None:
    answering = load(make_session(home, tiny_model))
    assert answering.learner is not None
    model = answering.learner.policy.model
    layer = model.layers[0].self_attn.q_proj.linear
    base = answering.questions.samplers.get(None).model
    assert base.layers[0].self_attn.q_proj.weight is layer.weight
    assert base.model.embed_tokens.weight is model.model.embed_tokens.embedding.weight
    assert base.layers[0].input_layernorm.weight is model.layers[0].input_layernorm.weight


def test_nothing_to_train_is_said_at_the_start(home: Path, tiny_model: Path) -> None:
    lora = {"rank": 2, "train_mlp": False, "train_attn": False, "train_unembed": False}
    with pytest.raises(JobError, match="there is nothing to train"):
        load(make_session(home, tiny_model, lora=lora))


def test_a_session_whose_client_is_gone_loads_no_model(
    home: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(home, tiny_model)
    monkeypatch.setattr(serving, "load_session", lambda *_: pytest.fail("it loads"))
    outcome = session.serve(to_the_end=True)
    assert outcome is not None
    assert outcome.ok


def test_a_session_of_a_newer_version_is_refused(home: Path, tiny_model: Path) -> None:
    session = make_session(home, tiny_model)
    live = session.job.run.live
    write_json(live.session, json.loads(live.session.read_text()) | {"dream": True})
    with pytest.raises(JobError, match="is no session that this version of prefd can load"):
        session.serve()
