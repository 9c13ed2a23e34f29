"""The server of Tinker clients in this process: real app, sessions and journals; the daemon and the worker are stand-ins."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import httpx

from prefd.daemon.home.layout import Home
from prefd.daemon.live.app import make_live_app
from prefd.daemon.live.futures import Waits
from prefd.daemon.live.jobs import Standing
from prefd.daemon.live.keys import Keys
from prefd.daemon.live.models import Models
from prefd.daemon.live.sessions import Sessions
from prefd.daemon.machine.files import write_json
from prefd.daemon.runs.live_folder import LiveFolder
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.worker_tasks.live_requests import (
    AnyRequest,
    ComputeLogprobsRequest,
    ForwardBackwardRequest,
    ForwardRequest,
    GetInfoRequest,
    LoadStateRequest,
    OptimStepRequest,
    SampleRequest,
    SaveSamplerRequest,
    SaveStateRequest,
    parse_request,
)
from support.loop_thread import running_in_thread

KEY = "tml-" + "k" * 43
HOST = "127.0.0.1:8378"
QUICK_WAITS = Waits(poll=0.3, first_look=0.001, last_look=0.005, standing_look=0.01)


class StandInJobs:
    """It makes the folders that the daemon would make, and calls each job what a test says."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.opened: list[Mapping[str, Any]] = []
        self.cancelled: list[int] = []
        self.standings: dict[int, Standing] = {}

    async def open(self, model: Mapping[str, Any]) -> int:
        self.opened.append(model)
        job_id = len(self.standings) + 1
        folder = RunDir(self.home.job(job_id)).live
        folder.create()
        write_json(folder.session, {**model, "created_at": 0.0})
        self.standings[job_id] = Standing(job_id, "live", False, True, True, "")
        return job_id

    async def look(self, job_id: int) -> Standing:
        return self.standings[job_id]

    async def cancel(self, job_id: int) -> None:
        self.cancelled.append(job_id)

    def change(self, job_id: int, **changes: Any) -> None:
        self.standings[job_id] = replace(self.standings[job_id], **changes)


class StandInWorker:
    """It answers every request in its order. The log-probability of token t at step s is -t/100 - s."""

    def __init__(self, folder: LiveFolder) -> None:
        self.folder = folder
        self.steps = 0
        self.gradients = 0
        self.done = folder.read_applied()
        self.kinds: list[str] = []

    def work(self) -> bool:
        """Do the next request where there is one."""
        path = self.folder.request(self.done + 1)
        if not path.exists():
            return False
        self.done += 1
        request = parse_request(path.read_bytes())
        self.kinds.append(request.kind)
        write_json(self.folder.result(self.done), {"n": self.done, "ok": True, **self.answer(request)})
        self.folder.state.mkdir(exist_ok=True)
        write_json(self.folder.applied, {"applied": self.done})
        return True

    def answer(self, request: AnyRequest) -> dict[str, Any]:
        if isinstance(request, ForwardRequest | ForwardBackwardRequest):
            if request.loss_fn != "cross_entropy":
                return {"ok": False, "category": "user", "error": f"loss_fn {request.loss_fn!r} is not supported here"}
            self.gradients += isinstance(request, ForwardBackwardRequest)
            outputs = [
                {"logprobs": self.score(each.targets), "elementwise_loss": [0.0] * len(each.targets)}
                for each in request.data
            ]
            return {"loss_fn_outputs": outputs, "metrics": {"loss:sum": 2.5 - self.steps}}
        if isinstance(request, OptimStepRequest):
            self.steps, self.gradients = self.steps + 1, 0
            return {"metrics": {"optim/step:last": float(self.steps)}}
        if isinstance(request, SaveStateRequest | SaveSamplerRequest):
            kind = self.folder.weights if isinstance(request, SaveStateRequest) else self.folder.sampler_weights
            (kind / request.name).mkdir(parents=True, exist_ok=True)
            (kind / request.name / "adapters.safetensors").write_bytes(b"x" * 10)
            return {"path": str(kind / request.name)}
        if isinstance(request, LoadStateRequest):
            return {"path": request.path}
        if isinstance(request, SampleRequest):
            sequence = {"stop_reason": "stop", "tokens": [7, 8], "logprobs": [-0.5, -0.25]}
            prompt = [None, *self.score(request.tokens[1:])] if request.prompt_logprobs else None
            return {"sequences": [sequence] * request.num_samples, "prompt_logprobs": prompt}
        if isinstance(request, ComputeLogprobsRequest):
            return {"sequences": [], "prompt_logprobs": [None, *self.score(request.tokens[1:])], "ref_hits": 1}
        assert isinstance(request, GetInfoRequest)
        names = {"arch": "llama", "model": "/m", "tokenizer": "/m"}
        return {**names, "rank": 8, "scale": 4.0, "adapted_modules": ["q_proj"]}

    def score(self, tokens: Any) -> list[float]:
        return [-token / 100 - self.steps for token in tokens]


class LivePlace:
    """A home with its server; `restart` forgets all that is not on the disk."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self.home.create()
        self.jobs = StandInJobs(self.home)
        self.workers: dict[int, StandInWorker] = {}
        self.works = True
        self.restart()

    def restart(self) -> None:
        sessions = Sessions(self.home.live)
        sessions.load()
        self.models = Models(
            self.home, sessions, self.jobs, {"local/a": "/models/a", "local/b": "/models/b", "local/smol": "/s"}
        )
        self.app = make_live_app(self.models, Keys(KEY), [HOST], QUICK_WAITS)

    def folder(self, job_id: int = 1) -> LiveFolder:
        return RunDir(self.home.job(job_id)).live

    def worker(self, job_id: int = 1) -> StandInWorker:
        return self.workers.setdefault(job_id, StandInWorker(self.folder(job_id)))

    async def run_workers(self) -> None:
        while True:
            for job_id, standing in self.jobs.standings.items():
                while self.works and standing.runs and self.worker(job_id).work():
                    pass
            await asyncio.sleep(0.002)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[LiveClient]:
        """The workers run inside the block, and a client asks."""
        workers = asyncio.ensure_future(self.run_workers())
        try:
            async with LiveClient(self) as client:
                yield client
        finally:
            workers.cancel()


class LiveClient:
    """It asks the app as a client does, without a socket."""

    def __init__(self, place: LivePlace) -> None:
        self.place = place

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"X-API-Key": KEY, "Host": HOST} | options.pop("headers", {})
        transport = httpx.ASGITransport(app=self.place.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return await http.request(method, f"/api/v1{path}", headers=headers, **options)

    async def post(self, endpoint: str, /, **document: Any) -> Any:
        """What a request that is taken is answered with."""
        reply = await self.ask("POST", endpoint, json=document)
        assert reply.status_code == 200, reply.text
        return reply.json()

    async def refusal(self, endpoint: str, /, **document: Any) -> tuple[int, str]:
        reply = await self.ask("POST", endpoint, json=document)
        return reply.status_code, str(reply.json()["detail"])

    async def result(self, promise: Mapping[str, Any], **headers: str) -> httpx.Response:
        """The answer to a promise, however often it is to be asked for."""
        while True:
            reply = await self.ask(
                "POST", "/retrieve_future", json={"request_id": promise["request_id"]}, headers=headers
            )
            if reply.status_code != 408:
                return reply

    async def begin(self) -> str:
        """A session with one model, which is loaded; returns the model's id."""
        session = (await self.post("/create_session", sdk_version="0.38.0"))["session_id"]
        promise = await self.post(
            "/create_model", session_id=session, model_seq_id=0, base_model="local/a", lora_config={"rank": 8}
        )
        assert (await self.result(promise)).json() == {"type": "create_model", "model_id": promise["model_id"]}
        return str(promise["model_id"])


def make_call(model_id: str, seq_id: int, tokens: list[int], loss_fn: str = "cross_entropy") -> dict[str, Any]:
    """The JSON of a forward-backward request with one datum, as clients before protobuf send it."""
    length = len(tokens) - 1
    inputs = {
        "target_tokens": {"data": tokens[1:], "dtype": "int64", "shape": [length]},
        "weights": {"data": [1.0] * length, "dtype": "float32", "shape": [length]},
    }
    datum = {"model_input": {"chunks": [{"tokens": tokens[:-1], "type": "encoded_text"}]}, "loss_fn_inputs": inputs}
    part = {"data": [datum], "loss_fn": loss_fn}
    return {"forward_backward_input": part, "model_id": model_id, "seq_id": seq_id}


@contextmanager
def listening(place: LivePlace) -> Iterator[str]:
    """The app on a TCP port of loopback, with its workers, in a thread; yields the base URL."""
    import socket

    from prefd.daemon.control.server import serve_app

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        place.app.hosts = frozenset([f"127.0.0.1:{port}"])  # type: ignore[attr-defined]

        async def serve() -> None:
            workers = asyncio.ensure_future(place.run_workers())
            try:
                await serve_app(place.app, lambda: None, listener, {})
            finally:
                workers.cancel()

        with running_in_thread(serve):
            yield f"http://127.0.0.1:{port}"


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
