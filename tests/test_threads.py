import asyncio
import threading
import time

import pytest

from prefd.daemon.threads import in_thread


def test_a_value_and_an_error_come_back() -> None:
    async def body() -> None:
        assert await in_thread(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await in_thread(divmod, 7, 0)

    asyncio.run(body())


def test_work_that_hangs_holds_up_neither_the_loop_nor_its_end() -> None:
    hang = threading.Event()

    async def body() -> None:
        task = asyncio.create_task(in_thread(hang.wait, 20))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    began = time.monotonic()
    asyncio.run(body())
    assert time.monotonic() - began < 5
    hang.set()  # its answer finds nobody
