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
    made: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    spec = homes.write_spec(tmp_path / "a.json", tiny_model, pairs_file)
    alone = json.loads(homes.invoke(made, "cache", "explain", spec, "--json").stdout)
    asked: list[tuple[str, str | None, Any]] = []
    with page_that_answers(made, 200, alone | {"missing": 7, "memory": None, "batches": None}, asked):
        told = json.loads(homes.invoke(made, "cache", "explain", spec, "--json").stdout)
    ((path, authorization, posted),) = asked
    token = json.loads(made.page_record.read_text())["token"]
    assert (path, authorization) == ("/v1/explain", f"Bearer {token}")
    assert posted["data"]["path"] == str(pairs_file)
    assert "optimizer" not in posted["training"], "what the spec does not set is not set here"
    assert told == alone | {"missing": 7}


def test_a_refusal_is_the_pages_and_a_page_that_cannot_answer_is_passed_over(
    made: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    spec = homes.write_spec(tmp_path / "a.json", tiny_model, pairs_file)
    with page_that_answers(made, 422, {"lines": ["no row can be used", "of 8"]}, []):
        refused = homes.invoke(made, "cache", "explain", spec)
    assert (refused.exit_code, "no row can be used" in refused.stderr) == (1, True)
    for status, document in ((503, {"lines": ["its worker ended"]}), (200, [])):
        asked: list[Any] = []
        with page_that_answers(made, status, document, asked):
            told = homes.invoke(made, "cache", "explain", spec, "--json")
        assert (len(asked), json.loads(told.stdout)["missing"]) == (1, 16)


def test_preview_and_xray_ask_the_page_for_what_is_asked_of_them(
    made: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    spec = homes.write_spec(tmp_path / "a.json", tiny_model, pairs_file)
    for command, path in (
        (["preview", spec, "--row", "2"], "/v1/preview/pairs?count=3&row=2&worst=False"),
        (["xray", spec, "--only", "cut"], "/v1/xray?only=cut&limit=10"),
    ):
        alone = json.loads(homes.invoke(made, *command, "--json").stdout)
        asked: list[Any] = []
        with page_that_answers(made, 503, {}, asked):
            told = json.loads(homes.invoke(made, *command, "--json").stdout)
        assert ([each[0] for each in asked], told) == ([path], alone), command[0]
