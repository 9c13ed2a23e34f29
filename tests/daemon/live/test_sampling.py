"""Samplers are answered by the worker that has the model already, and requests that wait are written down together."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from prefd.cache.segments import durable
from prefd.daemon.live import snapshots
from prefd.daemon.live.endpoints import saving
from support.live_server import LiveClient, LivePlace


@pytest.fixture
def place(tmp_path: Path) -> LivePlace:
    return LivePlace(tmp_path)


def make_sample(sampler: str, seq_id: int, **changes: Any) -> dict[str, Any]:
    prompt = {"chunks": [{"tokens": [1], "type": "encoded_text"}, {"tokens": [2, 5], "type": "encoded_text"}]}
    settings = {"max_tokens": 2, "temperature": 0.5, "stop": ["\n"], "seed": 3}
    fixed = {"sampling_session_id": sampler, "seq_id": seq_id, "prompt": prompt, "sampling_params": settings}
    return fixed | changes


async def open_sampler(client: LiveClient, model: str, number: int, **of: str) -> str:
    session = model.partition(":")[0]
    answer = await client.post("/create_sampling_session", session_id=session, sampling_session_seq_id=number, **of)
    return str(answer["sampling_session_id"])


def test_saved_weights_snapshots_and_the_base_are_sampled_by_the_model_that_is_there(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            saved = await client.post("/save_weights_for_sampler", model_id=model, seq_id=1, path="smp")
            path = (await client.result(saved)).json()["path"]
            assert path == f"tinker://{model}/sampler_weights/smp"
            snapshot = await client.post(
                "/save_weights_for_sampler", model_id=model, seq_id=2, sampling_session_seq_id=9
            )
            own = (await client.result(snapshot)).json()["sampling_session_id"]
            named, base = (
                await open_sampler(client, model, 0, model_path=path),
                await open_sampler(client, model, 1, base_model="local/a"),
            )
            assert (await client.ask("GET", f"/samplers/{named}")).json() == {
                "sampler_id": named,
                "base_model": "local/a",
                "model_path": path,
            }
            folders = []
            for sampler in (own, named, base):
                promise = await client.post("/asample", **make_sample(sampler, 0, num_samples=2))
                assert promise["sample_sequence_ids"] == [f"{sampler}:0:0", f"{sampler}:0:1"]
                answer = (await client.result(promise)).json()
                assert answer["sequences"] == [{"stop_reason": "stop", "tokens": [7, 8], "logprobs": [-0.5, -0.25]}] * 2
                folders.append(place.models.sessions.find_of_sampler(sampler)[1].folder)
            weights = place.folder().sampler_weights
            assert folders == [str(weights / "_snapshot-2"), str(weights / "smp"), None]
            assert len(place.jobs.opened) == 1
            other = await open_sampler(client, model, 2, base_model="local/b")
            assert place.jobs.opened[1]["model_id"] == other
            assert place.jobs.opened[1]["lora"] is None
            assert (await client.refusal("/optim_step", model_id=other, seq_id=1, adam_params={}))[0] == 400

    asyncio.run(run())


def test_a_client_that_samples_as_it_trains_opens_a_sampler_for_each_of_many_steps(
    place: LivePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "MAX_SAMPLERS", 105)

    async def run() -> None:
        async with place.working() as client:
            body = {"model_id": await client.begin()}
            for number in range(1, 106):
                await client.post("/save_weights_for_sampler", **body, seq_id=number, sampling_session_seq_id=number)
            refused = await client.post("/save_weights_for_sampler", **body, seq_id=106, sampling_session_seq_id=106)
            assert "the session holds 105 samplers already" in (await client.result(refused)).json()["error"]

    asyncio.run(run())


def test_many_requests_for_log_probabilities_are_written_down_together(
    place: LivePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings: list[object] = []
    flush = durable.flush_file

    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            base = await open_sampler(client, model, 1, base_model="local/a")
            monkeypatch.setattr(
                "prefd.daemon.live.writing_plan.flush_file", lambda file: (listings.append(file), flush(file))
            )
            headers = {"x-sdk-method": "SamplingClient.compute_logprobs"}
            bodies = [make_sample(base, seq, prompt_logprobs=True) for seq in range(64)]
            replies = await asyncio.gather(
                *(client.ask("POST", "/asample", json=each, headers=headers) for each in bodies)
            )
            answers = await asyncio.gather(*(client.result(each.json()) for each in replies))
            assert {str(each.json()["prompt_logprobs"]) for each in answers} == {"[None, -0.02, -0.05]"}
            assert {str(each.json()["sequences"]) for each in answers} == {
                "[{'stop_reason': 'length', 'tokens': [], 'logprobs': []}]"
            }
            assert place.worker().kinds[1:] == ["compute_logprobs"] * 64
            assert len(listings) < 20

    asyncio.run(run())


def test_what_is_not_supported_is_refused_not_ignored(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            base = await open_sampler(client, await client.begin(), 1, base_model="local/a")
            for name, value in (
                ("topk_prompt_logprobs", 5),
                ("prompt_alt_tokens_k", 1),
                ("record_stability_info", True),
            ):
                status, why = await client.refusal("/asample", **make_sample(base, 0, **{name: value}))
                assert (status, name in why) == (400, True)

    asyncio.run(run())


def test_the_snapshots_that_were_not_used_for_longest_go_and_none_that_is_asked(
    place: LivePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that samples as it trains makes one a step; its reference, the first, it asks all along."""
    monkeypatch.setattr(snapshots, "MAX_SNAPSHOTS", 2)

    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            held = await place.models.find(model)

            async def save(number: int) -> str:
                saved = {"model_id": model, "seq_id": number, "sampling_session_seq_id": number}
                promise = await client.post("/save_weights_for_sampler", **saved)
                sampler = str((await client.result(promise)).json()["sampling_session_id"])
                os.utime(place.folder().sampler_weights / f"_snapshot-{number}", (number, number))
                return sampler

            samplers = [await save(number) for number in (1, 2, 3)]
            place.works = False
            await client.post("/asample", **make_sample(samplers[0], 0))
            await client.post("/asample", **make_sample(samplers[1], 0))
            os.utime(place.folder().sampler_weights / "_snapshot-2", (2, 2))  # for long, yet it is still asked
            await snapshots.drop_old_snapshots(place.models, held)
            assert list_snapshots(place) == [1, 2, 3]
            place.works = True
            await client.result({"request_id": f"{samplers[1]}:0"})
            place.restart()
            await snapshots.drop_old_snapshots(place.models, await place.models.find(model))
            assert list_snapshots(place) == [1, 3]
            status, why = await client.refusal("/asample", **make_sample(samplers[1], 1))
            assert (status, "save by name" in why) == (404, True)
            assert (await client.ask("POST", "/asample", json=make_sample(samplers[0], 1))).status_code == 200

    asyncio.run(run())


def list_snapshots(place: LivePlace) -> list[int]:
    return sorted(int(path.name.rpartition("-")[2]) for path in place.folder().sampler_weights.iterdir())
