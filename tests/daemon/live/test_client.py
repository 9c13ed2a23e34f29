"""An unmodified Tinker client drives the server, over TCP, in protobuf: the docs' program, and every call of a training program."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.live_server import KEY, LivePlace, listening
from support.pages import blocks

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
tinker = pytest.importorskip("tinker", reason="a Tinker client is not installed here (pip install 'prefd[live]')")


@pytest.fixture
def place(tmp_path: Path) -> LivePlace:
    return LivePlace(tmp_path)


@pytest.fixture
def url(place: LivePlace, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with listening(place) as address:
        monkeypatch.setenv("TINKER_BASE_URL", address)
        monkeypatch.setenv("TINKER_API_KEY", KEY)
        monkeypatch.setenv("TINKER_TELEMETRY", "0")
        yield address


def make_datum(tokens: list[int]) -> Any:
    inputs = {"target_tokens": tokens[1:], "weights": [1.0] * (len(tokens) - 1)}
    return tinker.types.Datum(model_input=tinker.types.ModelInput.from_ints(tokens[:-1]), loss_fn_inputs=inputs)


def test_the_program_of_the_page_runs(place: LivePlace, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks("python", "docs/live.md")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(block.text, str(block), "exec", dont_inherit=True), {})  # noqa: S102  # our own page
    assert capsys.readouterr().out.strip().endswith("/sampler_weights/first")
    assert place.worker().kinds == ["get_info", "forward_backward", "optim_step", "save_sampler"]


def test_a_client_does_all_that_a_training_program_does(place: LivePlace, url: str) -> None:
    types = tinker.types
    service = tinker.ServiceClient()
    training = service.create_lora_training_client(base_model="local/a", rank=8).result()
    data = [make_datum([5, 6, 7]), make_datum([1, 2, 3, 4])]
    output = training.forward_backward(data, "cross_entropy").result()
    assert [each["logprobs"].tolist() for each in output.loss_fn_outputs] == [
        pytest.approx([-0.06, -0.07]),
        pytest.approx([-0.02, -0.03, -0.04]),
    ]
    assert training.forward(data, "cross_entropy").result().metrics["loss:sum"] == 2.5
    assert place.worker().gradients == 1
    torch = pytest.importorskip("torch")

    def lose(data: Any, logprobs: Any) -> Any:
        loss = sum((each**2).sum() for each in logprobs)
        return loss, {"own:sum": float(loss.detach())}

    custom = training.forward_backward_custom(data, lose).result()
    assert custom.metrics["own:sum"] == pytest.approx(sum(x * x for x in (0.06, 0.07, 0.02, 0.03, 0.04)))
    assert training.optim_step(types.AdamParams(learning_rate=1e-4)).result().metrics == {"optim/step:last": 1.0}
    state = training.save_state("kept").result().path
    sampler = service.create_sampling_client(model_path=training.save_weights_for_sampler("smp").result().path).result()
    prompt = types.ModelInput.from_ints([1, 2, 5])
    sampled = sampler.sample(prompt, 2, types.SamplingParams(max_tokens=2)).result()
    assert [(each.stop_reason, each.tokens) for each in sampled.sequences] == [("stop", [7, 8])] * 2
    assert sampler.compute_logprobs(prompt).result() == [None, pytest.approx(-1.02), pytest.approx(-1.05)]
    assert place.worker().kinds[-1] == "compute_logprobs"
    snapshot = training.save_weights_and_get_sampling_client()
    assert snapshot.compute_logprobs(prompt).result()[0] is None
    resumed = service.create_training_client_from_state_with_optimizer(state).result()
    assert resumed.forward(data, "cross_entropy").result().metrics["loss:sum"] == 2.5
    with pytest.raises(tinker.RequestFailedError, match="'ppo' is not supported"):
        training.forward_backward(data, "ppo").result()
    assert training.forward(data, "cross_entropy").result().metrics["loss:sum"] == 1.5
    with pytest.raises(tinker.NotFoundError, match="there is no model 'no/such' here"):
        service.create_lora_training_client(base_model="no/such", rank=8).result()
    assert torch.is_grad_enabled()


def test_a_wrong_key_is_refused_at_once(place: LivePlace, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-wrong")
    with pytest.raises(tinker.AuthenticationError):
        tinker.ServiceClient().create_lora_training_client(base_model="local/a", rank=8).result()
