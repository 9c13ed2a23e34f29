"""The endpoints of the page's own process, asked in this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.testclient import TestClient

from prefd.daemon.control.api.app import make_app_of
from prefd.daemon.home.layout import Home
from prefd.daemon.page.api.own_endpoints import list_own_endpoints


@contextmanager
def asking(home: Home) -> Iterator[TestClient]:
    """A client of the endpoints over a home that a test fills by hand."""
    with TestClient(make_app_of(list_own_endpoints(home)), base_url="http://prefd") as client:
        yield client
