"""`keep_awake` keeps the machine from falling asleep by itself while a worker runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from prefd.daemon.machine.power import list_keepers

log = logging.getLogger(__name__)


@asynccontextmanager
async def keep_awake(pid: int, is_wanted: bool) -> AsyncIterator[None]:
    """Keep the machine awake inside the block, for the process `pid`; where that cannot be, one line in the log says so."""
    holding = asyncio.create_task(_hold(pid), name="keeping the machine awake") if is_wanted else None
    try:
        yield
    finally:
        if holding is not None:
            holding.cancel()
            with suppress(asyncio.CancelledError):
                await holding


async def _hold(pid: int) -> None:
    """Run the first of the commands that works, until it ends with the process or this is cancelled."""
    keepers = list_keepers(pid)
    for command in keepers:
        try:
            keeper = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            continue
        try:
            if await keeper.wait() == 0:
                return
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                keeper.terminate()
            await keeper.wait()
            raise
    if keepers:
        log.info("the machine is not kept awake while process %d runs: %s refuses", pid, keepers[0][0])
