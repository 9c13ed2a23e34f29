"""What was promised outlives a full disk and a cut line: each request keeps its own number, and its own answer."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from prefd.daemon.live import releasing, writing_plan
from support.live_server import LiveClient, LivePlace, make_call


@pytest.fixture
def place(tmp_path: Path) -> LivePlace:
    return LivePlace(tmp_path)


@pytest.fixture
def fill_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has the disk be full for the file with this place among those that are written from now on; then it has room again."""
    whole_file = writing_plan.whole_file

    def fill(index: int) -> None:
        left = [index]

        def write(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return whole_file(*arguments)

        monkeypatch.setattr(writing_plan, "whole_file", write)

    return fill


async def send_together(client: LiveClient, *calls: dict[str, Any]) -> list[httpx.Response]:
    """Send calls while another is being written down, so that they are written down together."""
    return list(await asyncio.gather(*(client.ask("POST", "/forward_backward", json=call) for call in calls)))


async def read_logprobs(client: LiveClient, promise: Any) -> Any:
    return (await client.result(promise)).json()["loss_fn_outputs"][0]["logprobs"]["data"]


def test_each_request_has_its_own_answer_where_the_disk_was_full_for_one_of_a_batch(
    place: LivePlace, fill_disk: Callable[[int], None]
) -> None:
    """Requests 3 and 2 are held, and 1 sets all three free: the second of them finds the disk full."""

    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            calls = {seq: make_call(model, seq, [seq, seq, seq]) for seq in (1, 2, 3)}
            await send_together(client, calls[3], calls[2])
            fill_disk(2)
            first = await client.ask("POST", "/forward_backward", json=calls[1])
            assert (
                first.status_code == 503
            )  # although it is written down: those behind it are taken up when it comes again
            for dies in (False, True):
                if dies:
                    place.restart()
                promises = [
                    (await client.ask("POST", "/forward_backward", json=calls[seq])).json() for seq in (1, 2, 3)
                ]
                for seq, promise in enumerate(promises, 1):
                    assert await read_logprobs(client, promise) == [-seq / 100, -seq / 100]
            assert place.worker().kinds == ["get_info", *["forward_backward"] * 3]

    asyncio.run(run())


def test_a_request_that_could_not_be_written_down_gives_its_number_to_no_other(
    place: LivePlace, fill_disk: Callable[[int], None]
) -> None:
    """The second of two calls that fail here is one that the server answers itself: it may not be listed before the first."""

    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            good, bad = make_call(model, 1, [5, 6, 7]), make_call(model, 2, [5, 6, 7])
            bad["forward_backward_input"]["data"][0]["model_input"]["chunks"].append({"type": "image"})
            await client.post("/forward_backward", **bad)
            fill_disk(1)
            refused = await client.ask("POST", "/forward_backward", json=good)
            assert (refused.status_code, "No space left" in refused.json()["detail"]) == (503, True)
            place.restart()
            assert await read_logprobs(client, await client.post("/forward_backward", **good)) == [-0.06, -0.07]
            failed = (await client.result(await client.post("/forward_backward", **bad))).json()
            assert "type image" in failed["error"]

    asyncio.run(run())


def test_what_is_promised_behind_a_line_that_a_crash_has_cut_outlives_the_next_one(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            with place.folder().promises.open("ab") as file:
                file.write(b'{"request_id": "cut')
            place.restart()
            promise = await client.post("/forward_backward", **make_call(model, 1, [5, 6, 7]))
            place.restart()
            assert await read_logprobs(client, promise) == [-0.06, -0.07]
            assert await client.post("/forward_backward", **make_call(model, 1, [5, 6, 7])) == promise

    asyncio.run(run())


def test_results_are_fetched_while_others_are_being_deleted(place: LivePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            journal = (await place.models.find(model)).journal
            for number in (5, 6):
                journal.note_fetched(number)
            monkeypatch.setattr(type(place.folder()), "read_applied", lambda _: 6)
            reached, go_on = threading.Event(), threading.Event()
            unlink = Path.unlink

            def wait_and_unlink(path: Path, missing_ok: bool = False) -> None:
                reached.set()
                assert go_on.wait(60)
                unlink(path, missing_ok)

            monkeypatch.setattr(Path, "unlink", wait_and_unlink)
            deleting = asyncio.ensure_future(journal.forget_fetched(grace=-1))
            await asyncio.to_thread(reached.wait, 60)
            journal.note_fetched(7)
            go_on.set()
            await deleting
            assert list(journal.fetched) == [1, 7]  # the first tells what the model is, and stays

    asyncio.run(run())


def test_whatever_fails_in_a_look_at_the_sessions_the_next_look_is_made(
    place: LivePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        looks = asyncio.Queue[int]()

        async def fail(*_: object) -> None:
            looks.put_nowait(1)
            raise RuntimeError("dictionary changed size during iteration")

        monkeypatch.setattr(releasing, "note_silence", fail)
        house = asyncio.ensure_future(releasing.keep_house(place.models, 60, 0.001))
        for _ in range(2):
            await asyncio.wait_for(looks.get(), 60)
        house.cancel()

    asyncio.run(run())


@pytest.mark.parametrize("dies", [False, True], ids=["goes-on", "is-started-anew"])
def test_whichever_write_fails_each_request_is_done_once_and_answered(
    place: LivePlace, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    """A request that comes too early, the one before it, a sample and one that fails: at each write in turn the disk is full.

    What a killed server leaves is what a failed write leaves, so it is also started anew after each failure.
    """
    writes, fails_at = [0], [0]

    def count(name: str) -> None:
        own = getattr(writing_plan, name)

        def write(*arguments: Any, **settings: Any) -> Any:
            writes[0] += 1
            if writes[0] == fails_at[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            return own(*arguments, **settings)

        monkeypatch.setattr(writing_plan, name, write)

    for name in ("whole_file", "flush_file", "flush", "write_json"):
        count(name)

    async def ask(client: LiveClient, *bodies: tuple[str, dict[str, Any]]) -> list[Any]:
        """Ask all at once, and those that were refused once more."""
        replies = await asyncio.gather(*(client.ask("POST", path, json=document) for path, document in bodies))
        if dies and any(reply.status_code == 503 for reply in replies):
            place.restart()
        for index, (path, document) in enumerate(bodies):
            if replies[index].status_code == 503:
                replies[index] = await client.ask("POST", path, json=document)
            assert replies[index].status_code == 200, replies[index].text
        return [reply.json() for reply in replies]

    async def run() -> None:
        async with place.working() as client:
            while fails_at[0] <= writes[0]:
                model = await client.begin()
                opened = {"session_id": model.partition(":")[0], "sampling_session_seq_id": 0, "base_model": "local/a"}
                sampler = (await client.post("/create_sampling_session", **opened))["sampling_session_id"]
                prompt = {"chunks": [{"tokens": [1, 2, 5], "type": "encoded_text"}]}
                sample = {"sampling_session_id": sampler, "seq_id": 0, "prompt": prompt, "prompt_logprobs": True}
                writes[0] = 0
                fails_at[0] += 1
                calls = {seq: make_call(model, seq, [seq, seq, seq]) for seq in (1, 2)}
                calls[3] = make_call(model, 3, [5, 6, 7])
                calls[3]["forward_backward_input"]["data"][0]["model_input"]["chunks"].append({"type": "image"})
                (second,) = await ask(client, ("/forward_backward", calls[2]))
                first, sampled, third = await ask(
                    client,
                    ("/forward_backward", calls[1]),
                    ("/asample", sample),
                    ("/forward_backward", calls[3]),
                )
                assert await read_logprobs(client, first) == [-0.01, -0.01]
                assert await read_logprobs(client, second) == [-0.02, -0.02]
                assert (await client.result(sampled)).json()["prompt_logprobs"] == [None, -0.02, -0.05]
                assert "type image" in (await client.result(third)).json()["error"]
                kinds = place.worker(len(place.jobs.standings)).kinds
                assert sorted(kinds) == ["forward_backward", "forward_backward", "get_info", "sample"]
        assert fails_at[0] > 8

    asyncio.run(run())
