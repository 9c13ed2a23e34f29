"""What the page asks of a look child: posted specs are read as files in `jobs/` are, and the child's sentences are answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from prefd.daemon.control.api.app import make_app_of
from prefd.daemon.home.layout import Home
from prefd.daemon.page.api import looks, spec_looks
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.worker.look.kept_data import KeptData
from prefd.daemon.worker.look.serving import list_kinds
from prefd.daemon.worker_tasks.look_child import LookChild, LookRefused
from prefd.plugins.manager import load_plugins
from support import homes
from support.pairs_on_disk import write_pairs


class InProcess(LookChild):
    """A look child without a process."""

    async def ask(self, question: Any, answer: Any) -> Any:
        try:
            document = list_kinds(KeptData(self.home))[question.kind](question.model_dump(mode="json"))
        except Exception as error:
            raise LookRefused(str(error)) from error
        return answer.model_validate(json.loads(json.dumps(document)))


@pytest.fixture
def http(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    catalog = Catalog.from_json(load_plugins().to_json())
    monkeypatch.setattr(spec_looks, "load_catalog", lambda home: catalog)
    with TestClient(
        make_app_of(looks.list_endpoints(ready_home, InProcess(ready_home))), base_url="http://prefd"
    ) as client:
        yield client


@pytest.fixture
def spec(tiny_model: Path, pairs_file: Path) -> dict[str, Any]:
    data = {"path": str(pairs_file), "validation": 0.25}
    return {"model": str(tiny_model), "data": data, "training": {"iters": 5, "batch_size": 2}}


def test_needs_are_those_of_explain_with_memory_and_batches(http: TestClient, spec: dict[str, Any]) -> None:
    answer = http.post("/v1/explain", json=spec).json()
    assert (answer["completions"], answer["missing"], answer["needs_reference"]) == (16, 16, True)
    assert answer["memory"]["total"] > answer["memory"]["weights"] > 0
    assert answer["batches"]["steps"] == 5


def test_rows_are_shown_a_page_at_a_time(http: TestClient, spec: dict[str, Any]) -> None:
    text = json.dumps(spec)  # which is YAML too
    answer = http.post(
        "/v1/preview?show=kept&offset=1&limit=2", content=text, headers={"Content-Type": "application/yaml"}
    )
    page = answer.json()
    assert [row["row"] for row in page["rows"]] == [2, 3]
    assert page["total"] == 8
    assert page["lengths"]["chosen"]["from"] >= 0
    sweep = spec | {"sweep": {"data.max_length": [40, 512]}}
    short, long = (http.post(f"/v1/preview?show=dropped&job={job}", json=sweep).json()["total"] for job in (1, 2))
    assert short > long == 0


def test_pairs_are_shown_token_by_token_and_doubted_as_the_commands_have_them(
    http: TestClient, spec: dict[str, Any], ready_home: Home
) -> None:
    shown = http.post("/v1/preview/pairs?row=2&row=99", json=spec).json()
    assert [pair["place"].rpartition(":")[2] for pair in shown["pairs"]] == ["2"]
    assert list(shown["missing"]) == ["99"]
    doubted = http.post("/v1/xray?only=cut&only=duplicates&limit=1", json=spec).json()
    assert [finding["kind"] for finding in doubted["findings"]] == ["duplicates", "cut"]
    assert (doubted["pairs"], doubted["missing"]) == (8, 16)
    homes.add_queued(ready_home, **spec)
    assert http.get("/v1/jobs/1/xray?only=duplicates").json()["pairs"] == 8
    assert http.get("/v1/jobs/2/xray").status_code == 404


def test_a_curve_takes_the_losss_own_parameters(http: TestClient) -> None:
    curve = http.get("/v1/losses/hinge/curve?beta=1&from=0&to=2&points=3").json()
    assert (curve["z"], curve["loss"]) == ([0, 1, 2], [1, 0, 0])
    assert curve["params"] == {"beta": 1}


@pytest.mark.parametrize(
    ("path", "change", "status", "reason"),
    [
        ("/v1/explain", {"model": 3}, 422, "model"),
        ("/v1/explain", {"loss": {"name": "sigmod"}}, 422, "no loss is called 'sigmod'"),
        ("/v1/preview?job=2", {}, 422, "there is no job 2 of 1"),
        ("/v1/preview?show=some", {}, 422, "show"),
        ("/v1/preview?limit=9999", {}, 422, "limit"),
        ("/v1/preview", {"data": {"path": "/nowhere.jsonl"}}, 422, "/nowhere.jsonl"),
    ],
)
def test_what_cannot_be_looked_at_is_told(
    http: TestClient, spec: dict[str, Any], path: str, change: dict[str, Any], status: int, reason: str
) -> None:
    answer = http.post(path, json=spec | change)
    assert answer.status_code == status
    assert reason in answer.json()["error"]


def test_other_bodies_and_curves_are_refused(http: TestClient) -> None:
    assert http.post("/v1/explain", content=b"x", headers={"Content-Type": "text/html"}).status_code == 415
    assert http.post("/v1/explain", content=b" " * 300_000).status_code == 413
    assert http.get("/v1/losses/nothing/curve").status_code == 422
    assert "beta" in http.get("/v1/losses/sigmoid/curve?beta=-1").json()["error"]
    assert http.get("/v1/losses/sigmoid/curve?from=nan").status_code == 422


def test_scored_pairs_come_a_page_at_a_time(http: TestClient, ready_home: Home) -> None:
    homes.add_done(ready_home)
    empty = http.get("/v1/jobs/1/pairs").json()
    assert (empty["state"], empty["pairs"], empty["head"]) == ("none", [], None)
    write_pairs(ready_home, 1, [0.5, -0.25, 0.0, 1.5])
    page = http.get("/v1/jobs/1/pairs?only=wrong&limit=1").json()
    assert (page["state"], page["total"], page["wrong"]) == ("done", 2, 2)
    assert (page["pairs"][0]["row"], page["pairs"][0]["chosen_text"]) == (2, "Good 2.\nYes.")
    assert http.get("/v1/jobs/1/pairs?only=wrong&only=held_out").json()["total"] == 0
    assert http.get("/v1/jobs/1/pairs?order=best").json()["pairs"][0]["margin"] == 1.5
    assert http.get("/v1/jobs/7/pairs").status_code == 404
    assert http.get("/v1/jobs/1/pairs?only=some").status_code == 422


def test_two_jobs_are_compared_pair_by_pair(http: TestClient, ready_home: Home) -> None:
    homes.add_done(ready_home)
    homes.add_done(ready_home, name="other")
    write_pairs(ready_home, 1, [0.5, -0.25])
    refused = http.get("/v1/compare/pairs?ids=1,2")
    assert (refused.status_code, refused.json()["error"]) == (422, "the pairs of jobs 1 and 2 are not both scored yet")
    write_pairs(ready_home, 2, [float("nan"), 0.2])
    answer = http.get("/v1/compare/pairs?ids=1,2").json()
    assert (answer["common"], [pair["row"] for pair in answer["right_only_in"]["1"]]) == (2, [1])
    assert answer["right_only_in"]["1"][0]["margins"] == [0.5, None]
    page = http.get("/v1/jobs/2/pairs").json()
    assert [pair["margin"] for pair in page["pairs"]] == [None, 0.2]
    assert (page["head"]["train"]["margin"], page["head"]["train"]["wrong"], page["head"]["not_finite"]) == (None, 1, 1)
    assert answer["right_only_in"]["2"][0]["held_out"]
    assert http.get("/v1/compare/pairs?ids=1,9").status_code == 404
    assert http.get("/v1/compare/pairs?ids=1").status_code == 422
