"""`read_table` answers from the job table, in a thread with a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable

T = TypeVar("T")


async def read_table(home: Home, look: Callable[[JobTable], T]) -> T:
    """Returns what `look` finds in the home's table, without holding up the event loop. Raises JobTableError."""

    def read() -> T:
        with JobTable.open_readonly(home.database) as table:
            return look(table)

    return await asyncio.to_thread(read)
