"""`respond_page` answers with a part of a list, as clients ask for it with `offset` and `limit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from prefd.daemon.live.refusal import RefusedCall


def respond_page(request: Request, name: str, rows: Sequence[dict[str, Any]]) -> Response:
    """Answer with the rows that are asked for with `offset` and `limit`, and how many there are. Raises RefusedCall (400)."""
    try:
        offset, limit = (
            int(request.query_params.get(key, default)) for key, default in (("offset", 0), ("limit", 100))
        )
        if min(offset, limit) < 0:
            raise ValueError
    except ValueError:
        raise RefusedCall(400, "`offset` and `limit` are numbers that are not negative") from None
    cursor = {"offset": offset, "limit": limit, "total_count": len(rows)}
    return JSONResponse({name: rows[offset : offset + limit], "cursor": cursor})
