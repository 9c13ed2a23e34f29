"""A spec is checked as one that is handed in, and nothing is queued."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.text.parsed import MAX_BYTES
from support import fake_worker
from support.control_server import serving, talking

YAML = """\
# a comment
model: {folder}/model
data: {{path: {folder}/pairs.jsonl}}
loss: {{name: sigmoid, beta: -1}}
training:
  itres: 3
"""


def test_every_fault_has_its_place_in_all_formats(ready_home: Home, tmp_path: Path) -> None:
    fake_worker.model_folder(tmp_path)
    yaml = YAML.format(folder=tmp_path)
    toml = f'model = "{tmp_path}/model"\ndata.path = "{tmp_path}/pairs.jsonl"\nloss = {{name = "sigmoid", beta = -1}}\ntraining = {{itres = 3}}\n'
    as_json = json.dumps(
        {
            "model": f"{tmp_path}/model",
            "data": {"path": f"{tmp_path}/pairs.jsonl"},
            "loss": {"name": "sigmoid", "beta": -1},
            "training": {"itres": 3},
        },
        indent=1,
    )
    with serving(ready_home), talking(ready_home) as http:
        for text, media, lines in (
            (yaml, "application/yaml", {6, 4}),
            (toml, "application/toml", {4, 3}),
            (as_json, "application/json", {11, 8}),
        ):
            answer = http.post("/v1/validate", content=text, headers={"Content-Type": media}).json()
            assert not answer["ok"]
            assert answer["jobs"] == []
            faults = {fault["path"]: fault for fault in answer["faults"]}
            assert faults.keys() == {"training.itres", "loss.beta"}, media
            assert "iters" in faults["training.itres"]["message"]
            assert {fault["line"] for fault in faults.values()} == lines
        assert http.post("/v1/validate", content="{").json()["faults"][0]["line"] == 1
        for content, media, status in (("x" * (MAX_BYTES + 1), "application/json", 413), ("<a/>", "text/xml", 415)):
            assert http.post("/v1/validate", content=content, headers={"Content-Type": media}).status_code == status
        assert http.post("/v1/validate?name=../x", content="{}").status_code == 422
    with JobTable.open_readonly(ready_home.database) as table:
        assert table.list() == []
    assert list(ready_home.jobs.glob("*.*")) == []


def test_a_good_spec_is_told_as_the_jobs_that_it_would_become(
    ready_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_worker.spec_text(tmp_path)
    monkeypatch.chdir("/")
    yaml = f"model: {tmp_path}/model\ndata: {{path: {tmp_path}/pairs.jsonl}}\nloss: {{name: cpo}}\ntraining: {{}}\nsweep: {{loss.beta: [0.1, 0.2]}}\n"
    with serving(ready_home), talking(ready_home) as http:
        answer = http.post("/v1/validate?name=both", content=yaml, headers={"Content-Type": "application/yaml"}).json()
    assert (answer["ok"], answer["faults"]) == (True, [])
    assert [job["name"] for job in answer["jobs"]] == ["both-1", "both-2"]
    assert answer["settings"] == ["loss.beta 0.1", "loss.beta 0.2"]
    assert answer["needs_reference"] == [False, False]
    assert answer["jobs"][0]["training"]["batch_size"] == 4
