"""`prefd cache explain` asks the worker of the page that is served, and one of its own where none is, or where it cannot answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_record import hold_page, write_page_record
from support import homes

pytestmark = pytest.mark.usefixtures("answers_in_process")


@contextmanager
def page_that_answers(
    home: Home, status: int, document: Any, asked: list[tuple[str, str | None, Any]]
) -> Iterator[None]:
    """What stands for the page of `home`: it notes what it was asked, and answers this."""

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers["Authorization"], posted))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server, hold_page(home):
        write_page_record(home, "127.0.0.1", server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


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
