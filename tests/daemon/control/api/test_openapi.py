"""The document, the routes and the real answers say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from prefd.daemon.control.api.app import list_endpoints, make_app
from prefd.daemon.control.api.events import Hub
from prefd.daemon.control.api.openapi import build_document
from prefd.daemon.control.client import read_events
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.actions import (
    JOB_ACTIONS,
    JOB_SUMMARIES,
    JOBS_ACTIONS,
    JOBS_SUMMARIES,
    QUEUE_ACTIONS,
    QUEUE_SUMMARIES,
)
from support import fake_worker, homes
from support.answer_schemas import check_answer
from support.control_server import FakeDaemon, talking
from support.running_daemon import Place


@pytest.fixture
def described(home: Path) -> dict[str, Any]:
    ready_home = Home(home)
    return json.loads(json.dumps(build_document(list_endpoints(FakeDaemon(ready_home), Hub(ready_home)))))


def test_it_is_an_openapi_document(described: dict[str, Any]) -> None:
    assert list(OpenAPIV31SpecValidator(described).iter_errors()) == []
    assert described["openapi"].startswith("3.1.")


def test_it_describes_every_route_and_no_other(home: Path, described: dict[str, Any]) -> None:
    ready_home = Home(home)
    app = make_app(FakeDaemon(ready_home), Hub(ready_home))
    routes = {
        (re.sub(r":int\}", "}", route.path), method.lower())
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert routes == {(path, method) for path, each in described["paths"].items() for method in each}
    assert all(path.startswith("/v1/") for path, _ in routes)
    names = [each["operationId"] for path in described["paths"].values() for each in path.values()]
    assert len(set(names)) == len(names)
    assert JOB_ACTIONS.keys() == JOB_SUMMARIES.keys()
    assert JOBS_ACTIONS.keys() == JOBS_SUMMARIES.keys()
    assert QUEUE_ACTIONS.keys() == QUEUE_SUMMARIES.keys()


def test_what_fields_mean_is_in_it(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    assert schemas["Job"]["properties"]["priority"]["description"] == "The higher goes first."
    assert {"JobEvent", "MetricsEvent", "ProgressEvent", "RemovedEvent", "ResetEvent", "Error"} <= schemas.keys()


def test_what_a_real_daemon_answers_is_what_it_describes(place: Place) -> None:
    """Each operation is asked once or more; its answer fits its schema, and has no field that is not described."""
    homes.add_done(place.home, name="ended")
    routes: set[tuple[str, str]] = set()
    with place.daemon(), talking(place.home) as http:
        described = http.get("/v1/openapi.json").json()
        assert list(OpenAPIV31SpecValidator(described).iter_errors()) == []

        def ask(method: str, path: str, url: str, **more: Any) -> Any:
            reply = http.request(method, url, **more)
            operation = described["paths"][path][method.lower()]
            declared = operation["responses"][str(reply.status_code)]
            (media,) = declared["content"]
            assert reply.headers["content-type"].startswith(media)
            if media == "application/json":
                check_answer(described, declared["content"][media]["schema"], reply.json())
            routes.add((path, method.lower()))
            return reply.json() if media == "application/json" else reply.text

        job = "/v1/jobs/{job_id}"
        spec = fake_worker.spec_text(place.folder, name="sleep")
        (posted_job,) = ask("POST", "/v1/jobs", "/v1/jobs?name=mine", content=spec)["jobs"]
        fake_worker.wait_for(lambda: bool(http.get("/v1/status").json()["active"]))
        status = ask("GET", "/v1/status", "/v1/status")
        assert status["active"][0]["id"] == posted_job["id"]
        assert [each["name"] for each in ask("GET", "/v1/jobs", "/v1/jobs?state=done&limit=5")["jobs"]] == ["ended"]
        for name in ("", "/log", "/metrics", "/metrics.csv", "/files", "/spec", "/history"):
            ask("GET", job + name, f"/v1/jobs/1{name}")
            assert "there is no job 99" in ask("GET", job + name, f"/v1/jobs/99{name}")["error"]
        ask("GET", "/v1/jobs", "/v1/jobs?with=summary")
        ask("GET", "/v1/openapi.json", "/v1/openapi.json")
        for name in ("schema", "losses", "plugins"):
            ask("GET", f"/v1/{name}", f"/v1/{name}")
        ask("GET", "/v1/losses/{name}", "/v1/losses/dpop")
        assert "no loss is called 'dpo'" in ask("GET", "/v1/losses/{name}", "/v1/losses/dpo")["error"]
        assert ask("POST", "/v1/validate", "/v1/validate", content=spec)["ok"]
        assert not ask("POST", "/v1/validate", "/v1/validate", content="{")["ok"]
        assert ask("GET", "/v1/readable", f"/v1/readable?path={place.folder}")["reason"] is None
        assert "must be absolute" in ask("GET", "/v1/readable", "/v1/readable?path=x")["error"]
        ask("GET", "/v1/metrics", "/v1/metrics")
        for number in (1, posted_job["id"], 99):  # done, running, and none
            ask("POST", f"{job}/pairs", f"/v1/jobs/{number}/pairs")
            ask("GET", f"{job}/samples", f"/v1/jobs/{number}/samples")
        for action in QUEUE_ACTIONS:
            ask("POST", f"/v1/queue/{action}", f"/v1/queue/{action}")
        for action in JOB_ACTIONS:
            number = 1 if "retry" in action else posted_job["id"]
            ask("POST", f"{job}/{action}", f"/v1/jobs/{number}/{action}")
            ask("POST", f"{job}/{action}", f"/v1/jobs/{2**70}/{action}")
        ask("POST", f"{job}/edit", f"/v1/jobs/{posted_job['id']}/edit", json={"settings": {"priority": 3}})
        waiting = homes.add_queued(place.home, name="waits", not_before="2099-01-01 00:00")
        edited = ask("POST", f"{job}/edit", f"/v1/jobs/{waiting.id}/edit", json={"settings": {"priority": 3}})
        assert (edited["priority"], edited["reason"]) == (3, "edited by you: priority 0 → 3")
        both = {"jobs": [waiting.id], "settings": {"priority": 4}}
        assert ask("POST", "/v1/jobs/edit", "/v1/jobs/edit", json=both)["jobs"][0]["priority"] == 4
        ask("POST", "/v1/jobs/edit", "/v1/jobs/edit", json=both | {"settings": {"priority": "high"}})
        ask("POST", "/v1/jobs/edit", "/v1/jobs/edit", json=both | {"jobs": [9999]})
        ask("POST", f"{job}/edit", f"/v1/jobs/{waiting.id}/edit", json={"settings": {"priority": "high"}})
        ask("POST", f"{job}/edit", f"/v1/jobs/{waiting.id}/edit", json={"unknown": 1})
        for action in sorted(JOBS_ACTIONS, key=lambda action: action == "remove"):
            number = 1 if action in ("retry", "retry-fresh", "remove") else waiting.id
            ask("POST", f"/v1/jobs/{action}", f"/v1/jobs/{action}", json={"jobs": [number]})
            ask("POST", f"/v1/jobs/{action}", f"/v1/jobs/{action}", json={"jobs": [99]})
            ask("POST", f"/v1/jobs/{action}", f"/v1/jobs/{action}", json={"jobs": []})
        session = "ab" * 16
        held = {"session_id": session, "model_id": f"{session}:sample:0", "base_model": "a", "model": "/a"}
        live = ask("POST", "/v1/live", "/v1/live", json=held)
        assert ask("POST", "/v1/live", "/v1/live", json=held)["id"] == live["id"]
        ask("POST", "/v1/live", "/v1/live", json=held | {"model_id": "../up"})
        ask("POST", "/v1/discard", "/v1/discard", json={"jobs": [waiting.id], "part": "checkpoints"})
        ask("POST", "/v1/discard", "/v1/discard", json={"jobs": [waiting.id], "part": "adapter"})
        with http.stream("GET", "/v1/events?after=0") as events:
            assert events.headers["content-type"].startswith("text/event-stream")
            kinds = {
                "job": "JobEvent",
                "removed": "RemovedEvent",
                "metrics": "MetricsEvent",
                "progress": "ProgressEvent",
                "queue": "QueueEvent",
                "daemon": "DaemonEvent",
            }
            for event in read_events(events):
                if event.kind == "open":
                    continue
                check_answer(described, described["components"]["schemas"][kinds[event.kind]], event.document)
                if event.document.get("state") == "queued" and event.document["job"] == posted_job["id"]:
                    break
        routes.add(("/v1/events", "get"))
        for url, path in (("/v1/jobs?limit=0", "/v1/jobs"), ("/v1/jobs/1/log?last=x", f"{job}/log")):
            assert http.get(url).status_code == 422
            ask("GET", path, url)
        ask("POST", "/v1/stop", "/v1/stop")
    assert routes == {(path, method) for path, each in described["paths"].items() for method in each}
