"""The daemon serves clients, and its real workers train for them: what is killed on the way changes no number."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from prefd.daemon.home.serve_key import keep_key
from prefd.daemon.home.serve_record import find_server
from prefd.daemon.jobs.table import JobTable
from support import client_program
from support.daemon_process import Daemon
from support.live_client import has_client, run_client
from support.live_server import make_call
from support.sockets import find_free_port

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


@pytest.fixture
def daemon(tmp_path: Path, tiny_model: Path, pairs_file: Path) -> Iterator[Daemon]:
    port = find_free_port()
    daemon = Daemon(tmp_path / "home", tiny_model, pairs_file)
    daemon.home.create()
    serve = f'enabled = true\nport = {port}\nmodels = {{"local/tiny" = {json.dumps(str(tiny_model))}}}'
    daemon.home.config.write_text(f"[serve]\n{serve}\n")
    daemon.start()
    try:
        daemon.until(lambda: find_server(daemon.home) is not None)
        yield daemon
    finally:
        assert daemon.process is not None
        daemon.process.terminate()
        daemon.process.wait(60)


class Asker:
    """It asks over TCP as a client does, for as long as it takes: a server that is gone is asked again."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.key = keep_key(daemon.home)

    def post(self, endpoint: str, **document: Any) -> Any:
        deadline = time.monotonic() + 120
        while True:
            assert time.monotonic() < deadline, self.daemon.home.log.read_text()[-3000:]
            server = find_server(self.daemon.home)
            try:
                reply = httpx.post(
                    f"{server.address if server else 'http://127.0.0.1:1'}/api/v1{endpoint}",
                    json=document,
                    headers={"X-API-Key": self.key},
                    timeout=45,
                    trust_env=False,
                )
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            if reply.status_code not in (408, 503):
                assert reply.status_code == 200, reply.text
                return reply.json()

    def result(self, endpoint: str, **document: Any) -> Any:
        return self.post("/retrieve_future", request_id=self.post(endpoint, **document)["request_id"])

    def train(self, session: str, number: int, disturb: dict[int, Any]) -> list[float]:
        body = {"session_id": session, "model_seq_id": number, "base_model": "local/tiny"}
        model = self.result("/create_model", **body, lora_config={"rank": 4, "seed": 1})["model_id"]
        losses = []
        for step in range(4):
            promise = self.post("/forward_backward", **make_call(model, 2 * step + 1, [5, 6, 7, 8]))
            disturb.get(step, lambda: None)()
            stepped = self.post("/optim_step", model_id=model, seq_id=2 * step + 2, adam_params={"learning_rate": 0.02})
            losses.append(self.post("/retrieve_future", **promise)["metrics"]["loss:sum"])
            result = self.post("/retrieve_future", **stepped)
            assert result.get("metrics", result) == {**result.get("metrics", {}), "optim/step:last": step + 1}
        return losses


def test_a_client_trains_and_nothing_that_is_killed_changes_its_losses(daemon: Daemon) -> None:
    asker = Asker(daemon)

    def kill_worker() -> None:
        with JobTable.open_readonly(daemon.home.database) as table:
            (job,) = table.list("live")
        assert job.worker_pid is not None
        os.kill(job.worker_pid, signal.SIGKILL)

    def kill_server() -> None:
        server = find_server(daemon.home)
        assert server is not None
        os.kill(server.pid, signal.SIGKILL)

    sessions = [asker.post("/create_session")["session_id"] for _ in range(2)]
    quiet = asker.train(sessions[0], 0, {})
    assert quiet == sorted(quiet, reverse=True)
    asker.post(f"/sessions/{sessions[0]}/finish", reason={"type": "success"})
    assert asker.train(sessions[1], 0, {1: kill_server, 2: kill_worker}) == quiet
    daemon.ask("cancel", "2")
    daemon.until(lambda: [job["state"] for job in list_jobs(daemon)] == ["done", "cancelled"])
    assert {job["group"] for job in list_jobs(daemon)} == {"live"}


def list_jobs(daemon: Daemon) -> list[dict[str, Any]]:
    with JobTable.open_readonly(daemon.home.database) as table:
        return [table.get(number).to_json() for number in (1, 2)]


@pytest.mark.skipif(not has_client(), reason="a Tinker client is not installed here (pip install 'prefd[live]')")
def test_an_unmodified_client_trains_samples_saves_and_resumes_to_the_bit(daemon: Daemon) -> None:
    server = find_server(daemon.home)
    assert server is not None
    ended = run_client(server.address, client_program.__file__, "local/tiny", key=keep_key(daemon.home))
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout)
    assert seen["losses"] == sorted(seen["losses"], reverse=True)
    assert seen["scored"][1:] == pytest.approx(seen["forward"], abs=1e-5)
    assert seen["drawn"][0] == seen["drawn"][1]
    assert seen["same_after_resuming"]
    assert seen["chunked"][0] == pytest.approx(seen["chunked"][1])
    assert seen["chunks_differ_by"] < 1e-5
    assert seen["goes_on"]
    assert [name for name, _ in seen["errors"]] == ["RequestFailedError", "NotFoundError"]
