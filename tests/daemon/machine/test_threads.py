import asyncio
import threading
import time

import pytest

from prefd.daemon.machine import threads
from prefd.daemon.machine.threads import run_in_thread
from support import fake_worker


def let_go(hang: threading.Event, waiting: int) -> None:
    """Let a hanging thread go on, until it waits for work like the `waiting` others: it would join in later tests."""
    hang.set()
    fake_worker.wait_for(lambda: len(threads._waiting) > waiting)


def test_a_value_and_an_error_come_back() -> None:
    async def body() -> None:
        assert await run_in_thread(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await run_in_thread(divmod, 7, 0)

    asyncio.run(body())


def test_work_that_hangs_holds_up_neither_the_loop_nor_its_end() -> None:
    hang = threading.Event()

    async def body() -> None:
        task = asyncio.create_task(run_in_thread(hang.wait, 20))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    waiting = len(threads._waiting)
    began = time.monotonic()
    asyncio.run(body())
    assert time.monotonic() - began < 15  # of the 20 that it hangs
    let_go(hang, waiting - 1 if waiting else 0)  # its answer finds nobody


def test_a_thread_that_has_done_its_work_does_the_next() -> None:
    async def body() -> set[int]:
        return {await run_in_thread(threading.get_ident) for _ in range(20)}

    assert len(asyncio.run(body())) == 1


def test_work_beside_work_that_hangs_is_done_by_another_thread() -> None:
    hang = threading.Event()

    async def body() -> list[int]:
        stuck = asyncio.create_task(run_in_thread(hang.wait, 20))
        await asyncio.sleep(0.05)
        values = await asyncio.wait_for(asyncio.gather(*(run_in_thread(divmod, n, 1) for n in range(5))), 60)
        hang.set()
        assert await stuck
        return [quotient for quotient, _ in values]

    assert asyncio.run(body()) == [0, 1, 2, 3, 4]
