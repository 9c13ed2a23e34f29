"""What stands for the page of a home: it notes what it is asked, and gives one answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_record import hold_page, write_page_record


@contextmanager
def page_that_answers(
    home: Home, status: int, document: Any, requests: list[tuple[str, str | None, Any]]
) -> Iterator[None]:
    """What stands for the page of `home`: it notes what it was asked, and answers this."""

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append((self.path, self.headers["Authorization"], body))
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
