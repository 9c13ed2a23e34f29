"""What clients ask of a model is done in their order, once, and answered until it is fetched: in this process, with a stand-in worker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from prefd.daemon.live.models import CREATE
from support.live_server import LivePlace, make_call


@pytest.fixture
def place(tmp_path: Path) -> LivePlace:
    return LivePlace(tmp_path)


def test_a_client_trains_saves_and_goes_on_from_what_it_saved(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            info = await client.post("/get_info", model_id=model)
            assert info["model_data"] == {"arch": "llama", "model_name": "local/a", "tokenizer_id": "/m"}
            assert (info["is_lora"], info["lora_rank"]) == (True, 8)
            loss = (
                await client.result(await client.post("/forward_backward", **make_call(model, 1, [5, 6, 7])))
            ).json()
            assert loss["metrics"] == {"loss:sum": 2.5}
            logprobs = loss["loss_fn_outputs"][0]["logprobs"]
            assert logprobs == {"data": [-0.06, -0.07], "dtype": "float32", "shape": [2]}
            step = await client.post("/optim_step", model_id=model, seq_id=2, adam_params={"learning_rate": 0.1})
            assert (await client.result(step)).json() == {"metrics": {"optim/step:last": 1.0}}
            saved = await client.result(await client.post("/save_weights", model_id=model, seq_id=3, path="first"))
            path = f"tinker://{model}/weights/first"
            assert saved.json() == {"type": "save_weights", "path": path}
            session = model.partition(":")[0]
            resumed = await client.post("/load_weights", path=path, optimizer=True, session_id=session, model_seq_id=1)
            assert (await client.result(resumed)).json()["model_id"] == f"{session}:train:1"
            second = place.jobs.opened[1]
            assert (second["from_state"], second["with_optimizer"]) == (str(place.folder().weights / "first"), True)
            assert second["lora"] == place.jobs.opened[0]["lora"]
            again = await client.post("/load_weights", path=path, optimizer=False, model_id=model, seq_id=4)
            assert (await client.result(again)).json() == {"type": "load_weights", "path": path, "model_id": model}
            assert place.worker().kinds == ["get_info", "forward_backward", "optim_step", "save_state", "load_state"]

    asyncio.run(run())


def test_requests_are_done_in_the_clients_order_and_a_repeated_one_once(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            calls = {seq: make_call(model, seq, [seq, seq, seq]) for seq in (1, 2, 3)}
            second, third = await asyncio.gather(*(client.post("/forward_backward", **calls[seq]) for seq in (2, 3)))
            assert place.worker().kinds == ["get_info"]
            first = await client.post("/forward_backward", **calls[1])
            assert await client.post("/forward_backward", **calls[1]) == first
            assert await client.post("/forward_backward", **calls[3]) == third
            for seq, promise in enumerate((first, second, third), 1):
                outputs = (await client.result(promise)).json()["loss_fn_outputs"]
                assert outputs[0]["logprobs"]["data"] == [-seq / 100, -seq / 100]
            assert place.worker().kinds == ["get_info", *["forward_backward"] * 3]
            status, why = await client.refusal("/forward_backward", **make_call(model, 3, [9, 9, 9]))
            assert (status, "other content" in why) == (422, True)

    asyncio.run(run())


def test_what_was_promised_is_kept_over_a_restart(place: LivePlace) -> None:
    """The process ends with one request undone, one held, and one whose line was written without its request."""

    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            place.works = False
            first = await client.post("/forward_backward", **make_call(model, 1, [1, 1, 1]))
            third = await client.post("/forward_backward", **make_call(model, 3, [3, 3, 3]))
            with place.folder().promises.open("ab") as file:
                line = f'{{"request_id": "{model}:2", "kind": "loss", "digest": "x", "seq": 2, "n": 3}}\n{{"request'
                file.write(line.encode())
            place.restart()
            waits = await client.ask("POST", "/retrieve_future", json={"request_id": third["request_id"]})
            assert (waits.status_code, waits.json()["queue_state_reason"]) == (
                408,
                "request 3 comes behind request 2, which has not arrived",
            )
            second = await client.post("/forward_backward", **make_call(model, 2, [2, 2, 2]))
            assert await client.post("/forward_backward", **make_call(model, 1, [1, 1, 1])) == first
            place.works = True
            for seq, promise in enumerate((first, second, third), 1):
                outputs = (await client.result(promise)).json()["loss_fn_outputs"]
                assert outputs[0]["logprobs"]["data"] == [-seq / 100, -seq / 100]
            assert place.worker().done == 4
            assert list(place.folder().held.iterdir()) == []

    asyncio.run(run())


def test_what_cannot_be_done_fails_in_its_turn_with_a_sentence_and_the_client_goes_on(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            wide = make_call(model, 1, [5, 6, 7])
            datum = wide["forward_backward_input"]["data"][0]
            datum["loss_fn_inputs"]["target_tokens"] |= {"data": [1, 2, 3, 4], "shape": [2, 2]}
            picture = make_call(model, 2, [5, 6, 7])
            picture["forward_backward_input"]["data"][0]["model_input"]["chunks"].append({"type": "image", "data": ""})
            ppo = make_call(model, 3, [5, 6, 7], "ppo")
            for call, words in ((wide, "shape 2×2"), (picture, "type image"), (ppo, "loss_fn 'ppo'")):
                failed = (await client.result(await client.post("/forward_backward", **call))).json()
                assert failed["category"] == "user"
                assert words in failed["error"]
            muon = await client.post("/optim_step", model_id=model, seq_id=4, optimizer_params={"lr": 1})
            assert "AdamW" in (await client.result(muon)).json()["error"]
            good = await client.post("/forward_backward", **make_call(model, 5, [5, 6, 7]))
            assert (await client.result(good)).json()["metrics"] == {"loss:sum": 2.5}
            nan = make_call(model, 6, [5, 6, 7])
            nan["forward_backward_input"]["loss_fn_config"] = {"beta": float("inf")}
            reply = await client.ask(
                "POST", "/forward_backward", content=str(nan).replace("'", '"').replace("inf", "Infinity")
            )
            assert "not finite" in (await client.result(reply.json())).json()["error"]
            good = await client.post("/forward_backward", **make_call(model, 7, [5, 6, 7]))
            assert (await client.result(good)).json()["metrics"] == {"loss:sum": 2.5}

    asyncio.run(run())


def test_a_client_is_told_what_its_model_waits_for_and_how_its_job_ended(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            place.works = False
            promise = await client.post("/forward_backward", **make_call(model, 1, [5, 6, 7]))
            ask = {"request_id": promise["request_id"]}
            assert (await client.ask("POST", "/retrieve_future", json=ask)).json()["queue_state"] == "active"
            place.jobs.change(1, state="queued", runs=False, reason="waits for job 7")
            waiting = await client.ask("POST", "/retrieve_future", json=ask)
            assert (waiting.status_code, waiting.json()["queue_state"]) == (408, "paused_capacity")
            assert waiting.json()["queue_state_reason"] == "job 1 is queued: waits for job 7"
            place.jobs.change(1, state="cancelled", ended=True, reason="cancelled while it ran")
            ended = (await client.ask("POST", "/retrieve_future", json=ask)).json()
            assert ended == {"error": "job 1 cancelled: cancelled while it ran", "category": "server"}
            place.jobs.change(1, state="live", ended=False, reason="retried")
            again = (await client.ask("POST", "/retrieve_future", json=ask)).json()
            assert again == ended  # for good: the client may have sent it anew under another number

    asyncio.run(run())


def test_fetched_results_are_deleted_once_their_effects_are_saved(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            promise = await client.post("/forward_backward", **make_call(model, 1, [5, 6, 7]))
            await client.result(promise)
            journal = (await place.models.find(model)).journal
            await journal.forget_fetched(grace=60)
            assert [path.name for path in journal.folder.requests.iterdir()] == ["000000001.json"]
            assert (await client.result(promise)).status_code == 200
            await journal.forget_fetched(grace=0)
            assert [path.name for path in journal.folder.results.iterdir()] == ["000000001.json"]
            assert (await client.result(promise)).status_code == 404
            place.restart()
            assert (await client.post("/forward_backward", **make_call(model, 2, [5, 6, 7])))[
                "request_id"
            ] == f"{model}:2"
            assert (await client.post("/get_info", model_id=model))["model_data"]["arch"] == "llama"
            assert (await place.models.find(model)).journal.find(f"{model}:{CREATE}") is not None

    asyncio.run(run())


def test_weights_of_another_base_are_not_loaded_into_a_model(place: LivePlace) -> None:
    """Their arrays may have the same shapes."""

    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            session = model.partition(":")[0]
            body = {"session_id": session, "model_seq_id": 1, "base_model": "local/b", "lora_config": {"rank": 8}}
            other = (await client.post("/create_model", **body))["model_id"]
            saved = await client.post("/save_weights", model_id=other, seq_id=1, path="one")
            path = (await client.result(saved)).json()["path"]
            loaded = await client.post("/load_weights", model_id=model, seq_id=1, path=path)
            assert (await client.result(loaded)).json()["error"] == f"{path} is of local/b, not of local/a"
            own = await client.post("/load_weights", model_id=other, seq_id=2, path=path)
            assert (await client.result(own)).json()["path"] == path

    asyncio.run(run())
