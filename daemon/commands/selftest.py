"""`prefd selftest` tries on this machine that numbers are right, that jobs go on where they were, and how fast it is."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.shared.check_results import choose_exit, print_results, summarize
from prefd.daemon.commands.shared.options import json_option, pass_timing
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.terminal import render
from prefd.daemon.text.wording import pluralize
from prefd.daemon.timing import Timing

if TYPE_CHECKING:
    from prefd.daemon.home.layout import Home

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
PLACE = HelpPlace(Section.DAEMON, 45)


@click.command(
    epilog="""\b
Examples:
  prefd selftest
  prefd selftest exactness resume
  prefd selftest --json > selftest.json"""
)
@click.argument("checks", nargs=-1, metavar="[CHECK]...")
@json_option
@pass_timing
@click.pass_context
def selftest(ctx: click.Context, timing: Timing, checks: tuple[str, ...], as_json: bool) -> None:
    """Try that this machine's numbers are right.

    Two minutes on an idle machine, and nothing is downloaded: random models are made on the spot, and a daemon runs in a temporary home. Whether log-probabilities and gradients are exact, how much each type rounds, whether a job that is stopped or killed ends with the same bits, what it takes of memory against the estimate, how fast products are, whether dropped files are noticed. Exit code 6 if a check fails. What it prints is made to be pasted into a report.
    """
    from prefd.daemon.health.selftest.kept_results import keep_results
    from prefd.daemon.health.selftest.running import list_checks, run_checks

    check_names = list_checks()
    if unknown := [name for name in checks if name not in check_names]:
        raise click.UsageError(f"no check is called {unknown[0]!r}; there are: {', '.join(check_names)}")
    home: Home = ctx.obj
    render.print_note(
        f"{pluralize(len(checks or check_names), 'check')}; all of them take two minutes or so on an idle machine"
    )
    running = run_checks(home, checks or check_names, timing)
    with leave_at_signals():
        results = list(
            running
            if as_json
            else print_results(running, [name for name in check_names if name in (checks or check_names)])
        )
    keep_results(home, results)
    if as_json:
        render.emit_json({"ok": not choose_exit(results), "checks": [result.to_json() for result in results]})
    else:
        render.open_stdout().print(summarize(results))
    ctx.exit(choose_exit(results))


@contextmanager
def leave_at_signals() -> Iterator[None]:
    """Have signals that end this process end it inside the block as Ctrl-C does: with the daemon that is tried, and its home."""
    usual = {number: signal.signal(number, lambda number, _: sys.exit(128 + number)) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
