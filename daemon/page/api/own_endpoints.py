"""`list_own_endpoints` lists all that the page's process serves beside what the daemon serves too."""

from __future__ import annotations

from dataclasses import replace

from prefd.daemon.control.api.endpoint import Endpoint
from prefd.daemon.home.layout import Home
from prefd.daemon.page.api import archiving, cache, cleaning, compare, looks, machine, series, starting
from prefd.daemon.page.series.kept_columns import KeptColumns
from prefd.daemon.worker_tasks.look_child import LookChild


def list_own_endpoints(home: Home, child: LookChild | None = None) -> list[Endpoint]:
    """Lists the endpoints under /v1 of the page's process alone. `child` looks at specs for it, and is stopped by its owner."""
    columns = KeptColumns()
    listed = [
        *series.list_endpoints(home, columns),
        *compare.list_endpoints(home, columns),
        *cache.list_endpoints(home),
        *archiving.list_endpoints(home),
        *cleaning.list_endpoints(home),
        *machine.list_endpoints(home),
        *starting.list_endpoints(home),
        *looks.list_endpoints(home, child or LookChild(home)),
    ]
    return [replace(each, of_page=True) for each in listed]
