"""A session is released when its client ends it, or is not heard of any more; checkpoints with a time end with it."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest

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
