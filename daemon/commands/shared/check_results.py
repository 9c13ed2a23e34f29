"""Prints results of checks as lines that can be pasted into a report, and chooses the exit code for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.terminal import render

if TYPE_CHECKING:
    from rich.table import Table

    from prefd.daemon.worker_tasks.check_results import CheckResult

STYLES = {"ok": "green", "skipped": "yellow", "failed": "bold red"}


def print_results(results: Iterable[CheckResult], names: Iterable[str] = ()) -> Iterator[CheckResult]:
    """Print each result as it comes, and hand it on. `names`: those of the checks, in order: a terminal shows which one is being made."""
    console, coming, waiting = render.open_stdout(), iter(results), iter(names)
    while True:
        with render.show_busy(next(waiting, "")):
            result = next(coming, None)
        if result is None:
            return
        console.print(make_line(result))
        yield result


def make_line(result: CheckResult) -> Table:
    """Make the lines of one result; of the same widths each time, because they are printed as they are made."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=7)
    grid.add_column(width=10, style="bold")
    grid.add_column(width=6, justify="right")
    grid.add_column(overflow="fold")
    grid.add_row(
        Text(result.outcome, style=STYLES[result.outcome]), result.name, f"{result.seconds:.0f} s", Text(result.finding)
    )
    if result.remedy and result.outcome != "ok":
        grid.add_row("", "", "", Text(f"→ {result.remedy}"))
    return grid


def summarize(results: Iterable[CheckResult]) -> str:
    """Say how many checks went how, and how long they took together."""
    listed = list(results)
    counts: Counter[str] = Counter(result.outcome for result in listed)
    parts = [f"{counts[outcome]} {outcome}" for outcome in STYLES if counts[outcome]]
    return f"{', '.join(parts)} in {sum(result.seconds for result in listed):.0f} s"


def choose_exit(results: Iterable[CheckResult]) -> Exit:
    """Choose the exit code: CHECK_FAILED where any check failed."""
    return Exit.CHECK_FAILED if any(result.outcome == "failed" for result in results) else Exit.OK
