"""`prefd doctor` checks that everything is here that a job needs."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.table import Table
from rich.text import Text

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.commands.shared.options import json_option, pass_timing
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.terminal import render
from prefd.daemon.timing import Timing

PLACE = HelpPlace(Section.DAEMON, 40)
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command(
    epilog="""\b
Examples:
  prefd doctor
  prefd doctor --json | jq '.findings[] | select(.level != "ok")'"""
)
@json_option
@pass_timing
@click.pass_context
def doctor(ctx: click.Context, timing: Timing, as_json: bool) -> None:
    """Check everything a job needs.

    Each line says what to do where something is wrong; exit code 1 if a check fails. Takes a few seconds: the device's speed is measured.
    """
    from prefd.daemon.health.checks import run_checks
    from prefd.daemon.health.finding import HealthFinding

    console = render.open_stdout()
    results: list[HealthFinding] = []
    for finding in run_checks(ctx.obj, timing):
        results.append(finding)
        if not as_json:
            console.print(make_line(finding.level, finding.subject, finding.detail, finding.remedy))
    if as_json:
        render.emit_json({"findings": [asdict(finding) for finding in results]})
    if any(finding.level == "fail" for finding in results):
        ctx.exit(Exit.FAILED)


def make_line(level: str, subject: str, detail: str, remedy: str) -> Table:
    """Makes the line of one finding; of the same widths each time, because they are printed as they are made."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=4)
    grid.add_column(width=8, style="bold")
    grid.add_column(overflow="fold")
    grid.add_row(Text(level, style=STYLES[level]), subject, detail)
    if remedy:
        grid.add_row("", "", Text(f"→ {remedy}"))
    return grid
