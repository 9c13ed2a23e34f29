"""`prefd doctor` checks that everything is here that a job needs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.shared.check_results import choose_exit, print_results
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.commands.shared.options import json_option, pass_timing
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.terminal import render
from prefd.daemon.timing import Timing

if TYPE_CHECKING:
    from rich.table import Table

    from prefd.daemon.home.layout import Home

PLACE = HelpPlace(Section.DAEMON, 40)
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command(
    epilog="""\b
Examples:
  prefd doctor
  prefd doctor --json | jq '.findings[] | select(.level != "ok")'
  prefd doctor --bench mlx-community/Qwen3-4B-4bit"""
)
@click.option("--bench", metavar="MODEL", help="Instead, measure what a model takes of memory, and its speed.")
@json_option
@pass_timing
@click.pass_context
def doctor(ctx: click.Context, timing: Timing, bench: str | None, as_json: bool) -> None:
    """Check everything a job needs.

    Each line says what to do where something is wrong; exit code 1 if a check fails. Takes a few seconds: the device's speed is measured. With --bench, MODEL, a folder or a hub id, is loaded and two checks of `prefd selftest` are made on it: exit code 6 if one fails.
    """
    if bench is not None:
        ctx.exit(measure_model(ctx.obj, bench, timing, as_json))
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


def measure_model(home: Home, model: str, timing: Timing, as_json: bool) -> Exit:
    """Measures memory and speed of one model on the device that jobs compute on, and returns the exit code."""
    from prefd.daemon.health.selftest.running import OF_A_MODEL, run_model_check
    from prefd.daemon.home.settings import Config

    device = Config.load(home).worker.device
    findings = (run_model_check(name, model, timing, device) for name in OF_A_MODEL)
    results = list(findings if as_json else print_results(findings, OF_A_MODEL))
    if as_json:
        render.emit_json({"model": model, "checks": [result.to_json() for result in results]})
    return choose_exit(results)


def make_line(level: str, subject: str, detail: str, remedy: str) -> Table:
    """Makes the line of one finding; of the same widths each time, because they are printed as they are made."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=4)
    grid.add_column(width=8, style="bold")
    grid.add_column(overflow="fold")
    grid.add_row(Text(level, style=STYLES[level]), subject, detail)
    if remedy:
        grid.add_row("", "", Text(f"→ {remedy}"))
    return grid
