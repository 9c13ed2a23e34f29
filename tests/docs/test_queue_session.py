"""The session on the page of the queue is what the commands print, one after the other."""

from __future__ import annotations

import time

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.queue.turns import Limits, take_turns
from prefd.daemon.runs.disk_usage import measure_run
from prefd.daemon.runs.run_folder import RunDir
from support.homes import add_done, make_spec, run_folder
from support.transcripts import printed, transcript, without_sizes

PAGE = "docs/queue.md"


def look(table: JobTable) -> None:
    """The daemon's look at the queue, in which it writes down what waits for what. It starts nothing here."""
    queued = table.list("queued")
    after = {each for job in queued for each in job.after}
    table.set_waiting_reasons(take_turns(queued, [], table.states(after), Limits(), time.time()).waiting)


def test_the_session_prints_what_the_page_shows(ready_home: Home) -> None:
    """Job 1 is done, 2 to 4 are a sweep that waits, and 5 is to run after 4."""
    add_done(ready_home, name="smol-ipo")
    checkpoint = RunDir(ready_home.job(1)).checkpoints / "step-00000012"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"x" * 40_000)
    with JobTable.open(ready_home.database) as table:
        sweep = [make_spec(name=f"beta-{number}", group="beta") for number in (1, 2, 3)]
        settings = [f"loss.beta={beta}" for beta in (0.1, 0.3, 0.5)]
        for job in table.add_all(sweep, f"{'0' * 26}-beta.yaml", descriptions=settings):
            run_folder(ready_home, job)
        run_folder(ready_home, table.add(make_spec(name="best", after=[4]), f"{'1' * 26}-best.yaml"))
        table.set_sizes({1: measure_run(RunDir(ready_home.job(1)))})
        shown: dict[str, int] = {}
        for command in session():
            look(table)
            which = shown[command] = shown.get(command, -1) + 1
            assert without_sizes(printed(ready_home, command)) == without_sizes(transcript(command, which, PAGE)), (
                command
            )
        assert [job.name for job in table.list()] == ["smol-ipo", "best"]


def session() -> list[str]:
    """The commands of the page's session, in its order."""
    from support.pages import blocks

    lines = [line for block in blocks("console", PAGE) for line in block.text.splitlines()]
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    assert {"edit", "cancel", "rm", "clean"} <= {command.split()[1] for command in commands}
    return commands
