"""What clients have sent, of the oldest version that is served and of one that speaks protobuf, is answered byte for byte as then."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from support import client_recordings
from support.live_server import LivePlace

RECORDINGS = sorted(client_recordings.FOLDER.glob("*.jsonl"))


@pytest.mark.parametrize("forgetful", [False, True], ids=["once", "twice-with-a-restart-between"])
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_client_is_answered_as_when_it_was_recorded(tmp_path: Path, path: Path, forgetful: bool) -> None:
    exchanges = client_recordings.read(path)
    assert {each.headers.get("content-type") for each in exchanges if each.path == "/forward_backward"} == {
        "application/json" if path.stem == "0.6.3" else "application/x-protobuf"
    }
    place = LivePlace(tmp_path)

    async def run() -> None:
        async with place.working():
            answers = await client_recordings.replay(place, exchanges, forgetful)
        for each, (status, content) in zip(exchanges, answers, strict=True):
            assert (each.path, status, content) == (each.path, each.status, base64.b64decode(each.answer))

    asyncio.run(run())
    assert place.worker().kinds.count("optim_step") == 5
