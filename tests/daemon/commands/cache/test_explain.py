"""`prefd cache explain` asks the worker of the page that is served, and one of its own where none is, or where it cannot answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.layout import Home
from support import homes
from support.answering_page import page_that_answers

pytestmark = pytest.mark.usefixtures("answers_in_process")


def test_the_page_is_asked_with_its_token_and_what_it_adds_is_left_out(
    ready_home: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    spec = homes.write_spec(tmp_path / "a.json", tiny_model, pairs_file)
    alone = json.loads(homes.invoke(ready_home, "cache", "explain", spec, "--json").stdout)
    requests: list[tuple[str, str | None, Any]] = []
    with page_that_answers(ready_home, 200, alone | {"missing": 7, "memory": None, "batches": None}, requests):
        answer = json.loads(homes.invoke(ready_home, "cache", "explain", spec, "--json").stdout)
    ((path, authorization, body),) = requests
    token = json.loads(ready_home.page_record.read_text())["token"]
    assert (path, authorization) == ("/v1/explain", f"Bearer {token}")
    assert body["data"]["path"] == str(pairs_file)
    assert "optimizer" not in body["training"], "what the spec does not set is not set here"
    assert answer == alone | {"missing": 7}


def test_a_refusal_is_the_pages_and_a_page_that_cannot_answer_is_passed_over(
    ready_home: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    spec = homes.write_spec(tmp_path / "a.json", tiny_model, pairs_file)
    with page_that_answers(ready_home, 422, {"lines": ["no row can be used", "of 8"]}, []):
        refused = homes.invoke(ready_home, "cache", "explain", spec)
    assert (refused.exit_code, "no row can be used" in refused.stderr) == (1, True)
    for status, document in ((503, {"lines": ["its worker ended"]}), (200, [])):
        requests: list[Any] = []
        with page_that_answers(ready_home, status, document, requests):
            result = homes.invoke(ready_home, "cache", "explain", spec, "--json")
        assert (len(requests), json.loads(result.stdout)["missing"]) == (1, 16)


def test_preview_and_xray_ask_the_page_for_what_is_asked_of_them(
    ready_home: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    spec = homes.write_spec(tmp_path / "a.json", tiny_model, pairs_file)
    for command, path in (
        (["preview", spec, "--row", "2"], "/v1/preview/pairs?count=3&row=2&worst=False"),
        (["xray", spec, "--only", "cut"], "/v1/xray?only=cut&limit=10"),
    ):
        alone = json.loads(homes.invoke(ready_home, *command, "--json").stdout)
        requests: list[Any] = []
        with page_that_answers(ready_home, 503, {}, requests):
            answer = json.loads(homes.invoke(ready_home, *command, "--json").stdout)
        assert ([each[0] for each in requests], answer) == ([path], alone), command[0]
