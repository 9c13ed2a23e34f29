"""A session is released when its client ends it, or is not heard of any more; checkpoints with a time end with it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from prefd.daemon.live.checkpoints import delete_ended
from prefd.daemon.live.releasing import release_silent
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


def test_what_never_had_its_turn_is_called_off_when_its_client_goes(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            place.jobs.change(1, state="queued", runs=False, began=False)
            session = model.partition(":")[0]
            await client.post(f"/sessions/{session}/finish", reason={"type": "interrupted"}, detail=None)
            assert place.jobs.cancelled == [1]
            assert "interrupted" in read_json(place.folder().closed)["reason"]

    asyncio.run(run())


def test_a_repeated_create_session_makes_no_second_one(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            headers = {"X-Idempotency-Key": "same"}
            made = [(await client.ask("POST", "/create_session", json={}, headers=headers)).json() for _ in range(2)]
            other = (await client.ask("POST", "/create_session", json={})).json()
            assert made[0] == made[1] != other

    asyncio.run(run())


def test_checkpoints_are_listed_deleted_and_end_when_their_time_is_over(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            asked = {"model_id": model, "user_metadata": {"run": "a"}}
            await client.result(await client.post("/save_weights", seq_id=1, path="kept", **asked))
            await client.result(await client.post("/save_weights", seq_id=2, path="brief", ttl_seconds=60, **asked))
            listed = (await client.ask("GET", f"/training_runs/{model}/checkpoints")).json()["checkpoints"]
            assert [(each["checkpoint_id"], each["size_bytes"]) for each in listed] == [
                ("weights/kept", 10),
                ("weights/brief", 10),
            ]
            assert [each["expires_at"] is None for each in listed] == [True, False]
            assert delete_ended(place.folder(), model, time.time()) == []
            assert delete_ended(place.folder(), model, time.time() + 61) == [f"tinker://{model}/weights/brief"]
            kept = f"/training_runs/{model}/checkpoints/weights/kept"
            assert [(await client.ask("DELETE", kept)).status_code for _ in range(2)] == [200, 404]
            assert list(place.folder().weights.iterdir()) == []
            about = (await client.ask("GET", f"/training_runs/{model}")).json()
            assert (about["base_model"], about["lora_rank"]) == ("local/a", 8)

    asyncio.run(run())
