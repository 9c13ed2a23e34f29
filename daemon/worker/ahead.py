"""Waits for orders: a worker that was started ahead of its job imports what a phase needs, and is then told which job it is."""

from __future__ import annotations

import contextlib
import socket

from prefd.daemon.errors import EXPECTED
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config
from prefd.daemon.runs.orders import Orders
from prefd.daemon.worker.preparation import prepare_log, prepare_mlx, uncollected


def wait_for_orders(home: Home, descriptor: int) -> list[str] | None:
    """Become the worker that orders on the line `descriptor` name, and return its arguments; None where the line ends first."""
    prepare_log()
    if can_import_ahead(home):
        prepare_mlx()
        with uncollected(), contextlib.suppress(Exception):  # the job's own start tells of it
            from prefd.daemon.worker import phases  # noqa: F401
    line = socket.socket(fileno=descriptor)
    orders = Orders.receive(line)
    if orders is None:
        return None
    orders.settle()
    return [*orders.arguments, "--next-phase", str(line.detach())]


def can_import_ahead(home: Home) -> bool:
    """Say whether a job of this home may have its libraries imported before its limits are set: cores and niceness are of threads."""
    try:
        limits = Config.load(home).worker
    except EXPECTED:
        return False
    return not limits.cpus and not limits.nice and limits.device == "auto"
