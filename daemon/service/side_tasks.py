"""SideTasks is what runs beside the daemon's loops: each task has a name, under which it is replaced or ended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class SideTasks:
    """SideTasks starts and ends tasks by name. It is used inside a running event loop."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start a task. What ran under this name is no longer kept: end it before, where it may still run."""
        self._tasks[name] = asyncio.create_task(work, name=name)

    async def restart(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """End the task of this name, and start `work` in its place."""
        self._tasks[name].cancel()
        await asyncio.gather(self._tasks[name], return_exceptions=True)
        self.start(name, work)

    async def end_all(self) -> None:
        """Cancel every task, and return when all have ended."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
