"""Losses, plugins and the schema are told as the commands print them."""

from __future__ import annotations

from prefd.daemon.home.layout import Home
from prefd.daemon.specs.json_schema import build_schema
from support import fake_worker
from support.control_server import serving, talking


def test_they_are_those_of_the_catalogue(ready_home: Home) -> None:
    with serving(ready_home), talking(ready_home) as http:
        losses = http.get("/v1/losses").json()["losses"]
        assert losses.keys() == fake_worker.CATALOG["losses"].keys()
        assert http.get("/v1/losses/dpop").json() == losses["dpop"]
        assert losses["dpop"]["params"]["delta"] == {"type": "number", "default": 50.0, "minimum": 0}
        refused = http.get("/v1/losses/dpo")
        assert refused.status_code == 404
        assert refused.json()["lines"][:2] == ["no loss is called 'dpo'", "DPO's loss is `sigmoid`"]
        assert http.get("/v1/plugins").json()["plugins"][0]["name"] == "prefd:losses"
        assert http.get("/v1/schema").json() == build_schema(fake_worker.catalog())
