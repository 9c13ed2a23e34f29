"""The shell is the one document of the page, for every address in it, with its hashed scripts and styles. It holds no secret."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from prefd.daemon.home.page_files import STATIC, PageMissing, read_shell
from prefd.daemon.page.headers import make_policy

NONCE = "__NONCE__"
"""What stands in the shell where the nonce of its styles belongs."""
FOR_EVER = "public, max-age=31536000, immutable"
"""A file whose name holds a hash of its content never changes."""


class HashedFiles(StaticFiles):
    """HashedFiles serves files that never change under their names."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Answers with a file, to be kept."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = FOR_EVER
        return response


def make_shell(static: Path = STATIC) -> Starlette:
    """Builds the application that serves the shell on every path, and its files under /assets. Raises PageMissing.

    The shell is read each time: an upgrade under a running page takes away the files that an older one names.
    """
    text = read_shell(static)

    async def shell(request: Request) -> Response:
        nonlocal text
        with suppress(PageMissing):  # it is being written
            text = read_shell(static)
        nonce = secrets.token_urlsafe(16)
        policy = {"Content-Security-Policy": make_policy(nonce), "Cache-Control": "no-cache"}
        return HTMLResponse(text.replace(NONCE, nonce), headers=policy)

    files = HashedFiles(directory=static / "assets")
    return Starlette(routes=[Mount("/assets", files), Route("/{path:path}", shell, methods=["GET"])])
