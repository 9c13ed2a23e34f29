"""A session is released when its client ends it, or is not heard of any more; checkpoints with a time end with it."""

from __future__ import annotations

import asyncio
import errno
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.live import releasing, sessions
from prefd.daemon.live.checkpoints import delete_ended
from prefd.daemon.live.releasing import forgive_stall, note_silence, release_silent
from prefd.daemon.runs.run_folder import Progress, RunDir
from prefd.daemon.text.times import format_clock
from support.live_server import LivePlace, read_json


@pytest.fixture
def place(tmp_path: Path) -> LivePlace:
    return LivePlace(tmp_path)


def test_a_session_ends_once_its_client_is_silent_and_its_worker_is_told(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            session = model.partition(":")[0]
            place.models.sessions.find(session).heard_at -= 100
            await client.post("/session_heartbeat", session_id=session)
            await release_silent(place.models, 60)
            assert not place.folder().closed.exists()
            place.models.sessions.find(session).heard_at -= 100
            await release_silent(place.models, 60)
            assert read_json(place.folder().closed)["reason"] == "its client was not heard of for 60 s"
            place.restart()
            for path, about in (("/session_heartbeat", {"session_id": session}), ("/get_info", {"model_id": model})):
                status, why = await client.refusal(path, **about)
                assert (status, "has ended" in why) == (410, True)
            assert place.jobs.cancelled == []

    asyncio.run(run())


def test_a_client_that_is_silent_is_told_of_until_it_is_heard_of_again(place: LivePlace) -> None:
    """The job's progress says it, which is what the terminal and the page show."""

    def read_note() -> str:
        progress = RunDir(place.home.job(1)).progress()
        assert progress is not None
        return progress.note

    async def run() -> None:
        async with place.working() as client:
            session = (await client.begin()).partition(":")[0]
            RunDir(place.home.job(1)).write_progress(Progress("live", 3, 0, "steps"))
            await note_silence(place.models)
            assert read_note() == ""
            place.models.sessions.find(session).heard_at -= 100
            since = time.time() - 100
            await note_silence(place.models)
            assert read_note() in [f"no client since {format_clock(since + late)}" for late in (0, 1, 2)]
            await client.post("/session_heartbeat", session_id=session)
            place.restart()  # a new process does not know what the old one wrote
            await note_silence(place.models)
            assert read_note() == ""

    asyncio.run(run())


def test_time_in_which_the_server_stood_still_is_no_silence(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            session = place.models.sessions.find((await client.begin()).partition(":")[0])
            session.heard_at -= 100
            forgive_stall(place.models, 90)
            await release_silent(place.models, 30)
            assert not session.ended

    asyncio.run(run())


def test_a_session_is_forgotten_once_its_jobs_are_removed_and_a_cancelled_ones_state_goes_with_it(
    place: LivePlace,
) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            session = place.models.sessions.find(model.partition(":")[0])
            place.jobs.change(1, state="cancelled", ended=True)
            await client.post(f"/sessions/{session.id}/finish", reason={"type": "success"})
            assert sorted(path.name for path in place.folder().root.iterdir()) == ["closed.json", "session.json"]
            place.models.forget_removed(0)
            assert (await client.refusal("/session_heartbeat", session_id=session.id))[0] == 410
            shutil.rmtree(place.home.job(1))
            place.models.forget_removed(0)
            assert (await client.refusal("/session_heartbeat", session_id=session.id))[0] == 404
            assert list(place.home.live.iterdir()) == []

    asyncio.run(run())


def test_what_never_had_its_turn_is_called_off_when_its_client_goes(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            place.jobs.change(1, state="queued", runs=False, began=False)
            session = model.partition(":")[0]
            await client.post(f"/sessions/{session}/finish", reason={"type": "interrupted"}, detail=None)
            assert place.jobs.cancelled == [1]
            other = await client.begin()
            place.jobs.change(2, state="paused", runs=False)
            await client.post(f"/sessions/{other.partition(':')[0]}/finish", reason={"type": "success"})
            assert place.jobs.cancelled == [1, 2]
            assert "interrupted" in read_json(place.folder().closed)["reason"]

    asyncio.run(run())


def test_a_repeated_create_session_makes_no_second_one(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            headers = {"X-Idempotency-Key": "same"}
            sessions = [
                (await client.ask("POST", "/create_session", json={}, headers=headers)).json() for _ in range(2)
            ]
            other = (await client.ask("POST", "/create_session", json={})).json()
            assert sessions[0] == sessions[1] != other

    asyncio.run(run())


def test_checkpoints_are_listed_deleted_and_end_when_their_time_is_over(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            body = {"model_id": model, "user_metadata": {"run": "a"}}
            await client.result(await client.post("/save_weights", seq_id=1, path="kept", **body))
            await client.result(await client.post("/save_weights", seq_id=2, path="brief", ttl_seconds=60, **body))
            listed = (await client.ask("GET", f"/training_runs/{model}/checkpoints")).json()["checkpoints"]
            assert [(each["checkpoint_id"], each["size_bytes"]) for each in listed] == [
                ("weights/kept", 10),
                ("weights/brief", 10),
            ]
            assert [each["expires_at"] is None for each in listed] == [True, False]
            assert delete_ended(place.folder(), model, time.time()) == []
            assert delete_ended(place.folder(), model, time.time() + 61) == [f"tinker://{model}/weights/brief"]
            address = f"/training_runs/{model}/checkpoints/weights/kept"
            assert [(await client.ask("DELETE", address)).status_code for _ in range(2)] == [200, 404]
            assert list(place.folder().weights.iterdir()) == []
            about = (await client.ask("GET", f"/training_runs/{model}")).json()
            assert (about["base_model"], about["lora_rank"]) == ("local/a", 8)

    asyncio.run(run())


def test_a_run_is_told_of_with_its_metadata_and_its_last_checkpoints_also_when_its_session_has_ended(
    place: LivePlace,
) -> None:
    """That is when a client asks: it goes on from what an earlier program saved."""

    async def run() -> None:
        async with place.working() as client:
            noted = {"user_metadata": {"who": "me"}, "display_name": "a try"}
            session = (await client.post("/create_session", **noted, tags=["x"]))["session_id"]
            body = {"session_id": session, "model_seq_id": 0, "base_model": "local/a", "lora_config": {"rank": 8}}
            status, why = await client.refusal("/create_model", **body, user_metadata={"a": "x" * 17_000})
            assert (status, "user_metadata" in why) == (422, True)
            model = (await client.post("/create_model", **body, user_metadata={"run": "a"}))["model_id"]
            for seq_id, name in enumerate(("one", "two"), 1):
                saved = await client.post("/save_weights", model_id=model, seq_id=seq_id, path=name)
                path = (await client.result(saved)).json()["path"]
            await client.post(f"/sessions/{session}/finish", reason={"type": "success"})
            place.folder().forget_session()
            about = (await client.ask("GET", f"/training_runs/{model}")).json()
            assert (about["user_metadata"], about["last_checkpoint"]["tinker_path"]) == ({"run": "a"}, path)
            assert about["last_sampler_checkpoint"] is None
            listed = (await client.ask("GET", "/training_runs?limit=1")).json()
            assert listed == {"training_runs": [about], "cursor": {"offset": 0, "limit": 1, "total_count": 1}}
            listed = (await client.ask("GET", "/checkpoints?limit=1")).json()  # the newest first
            assert ([each["tinker_path"] for each in listed["checkpoints"]], listed["cursor"]["total_count"]) == (
                [path],
                2,
            )
            assert (await client.ask("GET", f"/sessions/{session}")).json() == {
                "training_run_ids": [model],
                "sampler_ids": [],
                **noted,
            }
            assert (await client.ask("GET", "/sessions/none")).status_code == 404
            assert (await client.ask("GET", "/checkpoints?offset=-1")).status_code == 400
            assert (await client.refusal("/weights_info", tinker_path=path + "-none"))[0] == 404
            assert (await client.post("/weights_info", tinker_path=path))["lora_rank"] == 8
            other = (await client.post("/create_session"))["session_id"]
            loading = {"session_id": other, "model_seq_id": 0, "path": path, "user_metadata": {"run": "b"}}
            resumed = (await client.post("/load_weights", **loading))["model_id"]
            assert (await client.ask("GET", f"/training_runs/{resumed}")).json()["user_metadata"] == {"run": "b"}

    asyncio.run(run())


def test_a_checkpoint_may_be_given_an_end_afterwards_and_have_it_taken_back(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            await client.result(await client.post("/save_weights", model_id=model, seq_id=1, path="one"))
            end = f"/training_runs/{model}/checkpoints/weights/one/ttl"
            for seconds, ended in ((3600, [f"tinker://{model}/weights/one"]), (None, [])):
                assert (await client.ask("PUT", end, json={"ttl_seconds": seconds})).status_code == 200
                listed = (await client.ask("GET", f"/training_runs/{model}/checkpoints")).json()["checkpoints"]
                assert (listed[0]["expires_at"] is None) == (seconds is None)
                if seconds is None:
                    assert delete_ended(place.folder(), model, time.time() + 4000) == ended
            assert (await client.ask("PUT", end, json={"ttl_seconds": 5})).status_code == 422
            assert (await client.ask("PUT", end.replace("one", "two"), json={})).status_code == 404

    asyncio.run(run())


def test_a_job_that_was_removed_is_no_sampler_any_more(place: LivePlace) -> None:
    """It is told so at once: a client would ask for minutes again where the request cannot be written down."""

    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            session = model.partition(":")[0]
            body = {"session_id": session, "sampling_session_seq_id": 1, "base_model": "local/a"}
            sampler = (await client.post("/create_sampling_session", **body))["sampling_session_id"]
            shutil.rmtree(place.home.job(1))
            prompt = {"chunks": [{"tokens": [1], "type": "encoded_text"}]}
            status, why = await client.refusal("/asample", sampling_session_id=sampler, seq_id=0, prompt=prompt)
            assert (status, "is gone" in why) == (404, True)

    asyncio.run(run())


@pytest.mark.parametrize("dies", [False, True], ids=["goes-on", "is-started-anew"])
def test_a_session_that_ended_while_the_disk_was_full_is_released_afterwards(
    place: LivePlace, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    """Its workers would wait for ever for a client that is gone."""

    async def run() -> None:
        async with place.working() as client:
            session = (await client.begin()).partition(":")[0]
            with monkeypatch.context() as patch:
                patch.setattr(releasing, "write_json", raise_disk_full)
                refused = await client.ask("POST", f"/sessions/{session}/finish", json={})
                assert (refused.status_code, place.folder().closed.exists()) == (503, False)
            assert (await client.ask("POST", f"/sessions/{session}/finish", json={})).status_code == 200
            if dies:
                place.restart()
            await release_silent(place.models, 60)
            assert "ended it" in read_json(place.folder().closed)["reason"]

    asyncio.run(run())


def test_what_a_session_holds_outlives_a_full_disk_and_a_restart(
    place: LivePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with place.working() as client:
            key = {"X-Idempotency-Key": "one"}
            sampler = {"sampling_session_seq_id": 0, "base_model": "local/a"}
            body = {"model_seq_id": 0, "base_model": "local/a", "lora_config": {"rank": 8}}
            session: dict[str, Any] = {}
            for endpoint, call in (
                ("/create_session", {}),
                ("/create_model", body),
                ("/create_sampling_session", sampler),
            ):
                with monkeypatch.context() as patch:
                    patch.setattr(sessions, "write_json", raise_disk_full)
                    refused = await client.ask("POST", endpoint, json=call | session, headers=key)
                    assert (endpoint, refused.status_code) == (endpoint, 503)
                answer = (await client.ask("POST", endpoint, json=call | session, headers=key)).json()
                session = session or {"session_id": answer["session_id"]}
                place.restart()
            model = f"{session['session_id']}:train:0"
            assert (await client.post("/get_info", model_id=model))["model_id"] == model
            assert (await client.ask("GET", f"/samplers/{answer['sampling_session_id']}")).status_code == 200

    asyncio.run(run())


def raise_disk_full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
