"""What the page's process answers by itself, and what it asks the daemon."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from prefd.daemon.control.api.events import Hub
from prefd.daemon.control.client import Client
from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_files import PageMissing
from prefd.daemon.page import app
from prefd.daemon.page.api import spec_looks
from prefd.daemon.page.app import list_endpoints, make_page
from prefd.daemon.page.relay import Relay
from support import fake_worker
from support.control_server import serving
from support.page import OPEN, browse, write_static

STARTS_PROCESSES = {
    "/v1/start",
    "/v1/doctor",
    "/v1/losses/{name}/curve",
    "/v1/jobs/{job_id}/pairs",
    "/v1/jobs/{job_id}/xray",
    "/v1/jobs/{job_id}/archive",
}
"""Endpoints that take seconds, and have tests of their own."""

SCOPE = {"method": "POST", "path": "/v1/queue/pause", "query_string": b"", "headers": []}


async def receive() -> dict[str, Any]:
    """An empty body."""
    return {"type": "http.request", "body": b"", "more_body": False}


@pytest.fixture
def page(four_jobs: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    for module in (app, spec_looks):
        monkeypatch.setattr(module, "load_catalog", lambda home: fake_worker.catalog())
    client = browse(four_jobs, write_static(tmp_path / "static"))
    client.headers.update(OPEN)
    return client


def test_jobs_are_read_without_a_daemon(page: TestClient) -> None:
    assert [each["state"] for each in page.get("/v1/jobs").json()["jobs"]] == ["done", "failed", "training", "queued"]
    assert page.get("/v1/jobs/1").json()["job"]["name"] == page.get("/v1/jobs/1/metrics").json()["name"]
    assert page.get("/v1/jobs/99").status_code == 404


def test_no_endpoint_fails_without_a_daemon(page: TestClient, four_jobs: Home) -> None:
    """What reads is answered, or says what is wrong with the question; what changes says how to start the daemon."""
    for each in list_endpoints(four_jobs, Hub(four_jobs)):
        if each.media == "text/event-stream" or each.path in STARTS_PROCESSES:
            continue
        answer = page.request(each.method, each.path.replace("{job_id}", "1"))
        if each.needs_daemon:
            assert answer.status_code == 503, each.path
            assert "`prefd start --detach`" in answer.json()["error"]
        else:
            assert answer.status_code < 500, (each.path, answer.text)


def test_a_daemon_that_does_not_answer_does_not_keep_the_page_from_ending(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is waited for is given up, and so is its thread, which asyncio.run would wait for."""
    has_asked, over = threading.Event(), threading.Event()
    monkeypatch.setattr(Client, "relay", lambda *_: (has_asked.set(), over.wait(60)))

    async def ask() -> None:
        relay = Relay(ready_home, 1000)
        answer = asyncio.ensure_future(relay.answer(Request({**SCOPE, "type": "http"}, receive)))
        while not has_asked.is_set():
            await asyncio.sleep(0.01)
        answer.cancel()

    began = time.monotonic()
    asyncio.run(ask())
    assert time.monotonic() - began < 30
    over.set()


def test_a_change_is_the_daemons(page: TestClient, four_jobs: Home) -> None:
    with serving(four_jobs) as daemon:
        assert page.post("/v1/jobs/4/pause").json()["state"] == "paused"
        assert page.post("/v1/jobs/4/retry").status_code == 409
        spec, yaml = b"model: m\n", {"Content-Type": "application/yaml"}
        assert page.post("/v1/jobs?name=new", content=spec, headers=yaml).status_code == 202
        assert daemon.posted_specs == [(spec, "new.yaml")]
        assert page.post("/v1/jobs?nam=new", content=spec, headers=yaml).status_code == 422
        assert page.get("/v1/status").json()["pid"] == 42
        assert page.get("/v1/metrics").headers["content-type"].startswith("text/plain")
    assert page.get("/v1/status").status_code == 503
    assert page.get("/v1/jobs/4").json()["job"]["state"] == "paused"


def test_the_description_has_every_endpoint(page: TestClient, four_jobs: Home) -> None:
    described = page.get("/v1/openapi.json").json()["paths"]
    assert set(described) == {each.path for each in list_endpoints(four_jobs, Hub(four_jobs))}


def test_a_page_that_was_not_built_says_how_to_get_it(ready_home: Home, tmp_path: Path) -> None:
    with pytest.raises(PageMissing, match="`make page` builds it"):
        make_page(ready_home, Hub(ready_home), "token", [], tmp_path)


def test_a_page_that_is_built_anew_under_a_running_server_is_served_as_it_is_now(
    ready_home: Home, tmp_path: Path
) -> None:
    client = browse(ready_home, write_static(tmp_path / "static"))
    shell = tmp_path / "static" / "index.html"
    shell.write_text('<script src="/assets/main-NEW.js" nonce="__NONCE__">')
    assert "main-NEW.js" in client.get("/").text
    shell.unlink()
    assert "main-NEW.js" in client.get("/").text, "while it is being written, the last one stands"
