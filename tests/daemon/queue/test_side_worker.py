"""The process of a task beside a job's phases: what it says itself comes first, then how it ended."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.queue.side_worker import NoSideWorker, describe_silent_end, read_error, start_side_worker


def test_it_is_told_its_task_and_reads_its_input(home: Path, tmp_path: Path) -> None:
    program = "import sys; print(sys.argv[1:], sys.stdin.read(), file=sys.stderr); sys.exit(3)"

    async def run() -> int:
        with (tmp_path / "log").open("wb") as log:
            worker = [sys.executable, "-c", program]
            process = await start_side_worker(worker, "pairs", Home(home), 7, log, {"PREFD_X": "1"})
        await process.communicate(b"{}")
        return process.returncode or 0

    code = asyncio.run(run())
    words = f"['pairs', '--home', '{home}', '--job', '7'] {{}}"
    assert (tmp_path / "log").read_text() == f"{words}\n"
    assert describe_silent_end(code, tmp_path / "log") == f"its process ended with exit code 3: {words}"
    assert describe_silent_end(-9, tmp_path / "none") == "its process ended with SIGKILL"


def test_a_program_that_is_not_there_is_named(home: Path, tmp_path: Path) -> None:
    with (
        (tmp_path / "log").open("wb") as log,
        pytest.raises(NoSideWorker, match=r"cannot start a worker \(/none/py\): No"),
    ):
        asyncio.run(start_side_worker(["/none/py"], "report", Home(home), 1, log, {}))


@pytest.mark.parametrize("output", [b"", b"nonsense", b"[1]", b'{"answer": 1}', b"\xff"])
def test_an_answer_without_an_error_says_nothing(output: bytes) -> None:
    assert read_error(output) is None
    assert read_error(b'{"error": "no room"}') == "no room"
