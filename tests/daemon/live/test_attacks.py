"""Who may not ask, and what may not be asked, is refused with a sentence; the server lives on."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from prefd.daemon.live import bodies, guard
from prefd.daemon.live.keys import Keys
from support.live_server import KEY, LivePlace, make_call


@pytest.fixture
def place(tmp_path: Path) -> LivePlace:
    return LivePlace(tmp_path)


def test_strangers_are_refused(place: LivePlace) -> None:
    token = Keys(KEY).make_token()
    old = Keys(KEY).make_token(now=0)
    forged = Keys("tml-" + "x" * 43).make_token()
    secret = KEY.removeprefix("tml-")
    keys = {
        "": 401,
        KEY[:-1]: 401,
        KEY + "k": 401,
        secret: 401,
        "tml-ü": 401,
        forged: 401,
        old: 401,
        token + "=": 401,
        ".": 401,
    }
    keys |= {KEY: 200, f"sk-{secret}": 200, token: 200}
    headers = {
        "Host": ("evil.example:8378", 421),
        "Origin": ("http://evil.example", 403),
        "Content-Length": (str(10**12), 413),
    }

    async def run() -> None:
        async with place.working() as client:
            for key, expected in keys.items():
                reply = await client.ask("GET", "/healthz", headers={"X-API-Key": key.encode()})  # type: ignore[dict-item]
                assert (key, reply.status_code) == (key, expected)
            for name, (value, expected) in headers.items():
                assert (await client.ask("GET", "/healthz", headers={name: value})).status_code == expected
            mint = await client.ask("POST", "/client/config", headers={"X-API-Key": f"sk-{secret}"}, json={})
            assert mint.json() == {"pjwt_auth_enabled": True}
            assert (await client.post("/client/config")) == {"pjwt_auth_enabled": False}
            jwt = (await client.ask("POST", "/auth/token", headers={"X-API-Key": f"sk-{secret}"}, json={})).json()[
                "jwt"
            ]
            assert (await client.ask("GET", "/healthz", headers={"X-API-Key": jwt})).status_code == 200

    asyncio.run(run())


def test_large_bodies_and_bombs_are_refused(place: LivePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_UNPACKED", 2**20)
    monkeypatch.setattr(bodies, "MAX_BODY", 2**16)
    zeros = bytes(2**20 + 1)
    packed = {"gzip": gzip.compress(zeros), "zstd": pa.compress(zeros, "zstd", asbytes=True)}

    async def run() -> None:
        async with place.working() as client:
            for encoding, bomb in packed.items():
                fine = gzip.compress(b"{}") if encoding == "gzip" else pa.compress(b"{}", "zstd", asbytes=True)
                for body, expected in ((bomb, 413), (fine, 200), (b"rubbish", 400), (fine[:-3], 400)):
                    reply = await client.ask(
                        "POST", "/create_session", content=body, headers={"Content-Encoding": encoding}
                    )
                    assert (encoding, body[:8], reply.status_code) == (encoding, body[:8], expected)
            assert (
                await client.ask("POST", "/create_session", content=b"{}", headers={"Content-Encoding": "br"})
            ).status_code == 415
            assert (await client.ask("POST", "/telemetry", content=zeros)).status_code == 413
            for rubbish in (b"{", b"[]", b"[" * 10**4, b"\xff"):
                assert (await client.ask("POST", "/create_session", content=rubbish)).status_code == 400
            assert guard.MAX_BODY >= 2**24

    asyncio.run(run())


def test_names_that_lead_elsewhere_and_unknown_things_are_refused(place: LivePlace) -> None:
    async def run() -> None:
        async with place.working() as client:
            model = await client.begin()
            session = model.partition(":")[0]
            for seq_id, name in enumerate(
                ("../up", "/etc", "a/b", "", ".hidden", "x" * 101, "a\0", "é", "_snapshot-1"), 1
            ):
                for endpoint in ("/save_weights", "/save_weights_for_sampler"):
                    call = {"model_id": model, "seq_id": 2 * seq_id - (endpoint == "/save_weights"), "path": name}
                    failed = (await client.result(await client.post(endpoint, **call))).json()
                    assert (failed["category"], "is no name" in failed["error"]) == ("user", True)
            assert not place.folder().weights.exists()
            for path in (
                f"tinker://{model}/weights/../../x",
                "tinker://x/weights/y",
                "/etc/passwd",
                f"tinker://{model}/weights/none",
            ):
                call = {"session_id": session, "model_seq_id": 1}
                assert (await client.refusal("/load_weights", path=path, **call))[0] in (400, 404)
                assert (
                    await client.refusal(
                        "/create_sampling_session", session_id=session, sampling_session_seq_id=0, model_path=path
                    )
                )[0] in (400, 404)
            model_body = {"session_id": session, "model_seq_id": 1, "lora_config": {"rank": 8}}
            status, why = await client.refusal("/create_model", **model_body, base_model="/etc")
            assert (status, why) == (404, "there is no model '/etc' here; there are local/a, local/b, local/smol")
            assert (await client.refusal("/create_model", session_id="0" * 32, model_seq_id=1, base_model="local/a"))[
                0
            ] == 404
            assert (await client.refusal("/forward_backward", **make_call("nobody", 1, [1, 2])))[0] == 404
            assert (await client.refusal("/retrieve_future", request_id="nobody"))[0] == 404
            assert (await client.refusal("/no_such_endpoint"))[0] == 404
            for body in (b"\x0a\xff", b"\x07", b"\x80" * 11, b"\x12\x01"):
                reply = await client.ask(
                    "POST", "/forward_backward", content=body, headers={"Content-Type": "application/x-protobuf"}
                )
                assert reply.status_code == 400
            assert len(place.jobs.opened) == 1
            assert await client.post("/session_heartbeat", session_id=session) == {"type": "session_heartbeat"}

    asyncio.run(run())
