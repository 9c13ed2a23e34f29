"""`prefd clean` makes room: it removes old jobs, or their checkpoints and fused models, GGUF files included."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from prefd.daemon.commands.shared.completions import GROUP
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.job_changes import change_jobs, discard_parts
from prefd.daemon.commands.shared.options import json_option, read_jobs
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.commands.shared.units import age
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import ENDED, STATES
from prefd.daemon.terminal import render
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.times import format_clock
from prefd.daemon.text.wording import pluralize

if TYPE_CHECKING:
    from prefd.daemon.jobs.cleaning import CleanPlan, Part, Rule

PLACE = HelpPlace(Section.JOBS, 103)
MOST_LINES = 50
NOUNS = {"job": "all of it", "checkpoints": "its checkpoints", "fused": "its fused model and GGUF files"}


@click.command(
    epilog="""\b
Examples:
  prefd clean --older-than 30d --dry-run
  prefd clean --keep 20
  prefd clean --checkpoints             of jobs that are done: the adapters stay
  prefd clean --fused --older-than 7d
  prefd clean --older-than 30d --state failed --json | jq .bytes"""
)
@click.option("--older-than", type=age, metavar="TIME", help="What ended longer ago: 30d, 12h.")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="All but the N jobs that ended last.")
@click.option(
    "--checkpoints", is_flag=True, help="Only the checkpoints; of failed and cancelled jobs only with --state."
)
@click.option("--fused", is_flag=True, help="Only the whole models, fused or GGUF; the adapters stay.")
@click.option("--group", metavar="NAME", type=GROUP, help="Only jobs of this group.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state for state in STATES if state in ENDED]),
    help="Only jobs that ended so (repeatable).",
)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@json_option
@click.pass_obj
def clean(
    home: Home,
    older_than: float | None,
    keep: int | None,
    checkpoints: bool,
    fused: bool,
    group: str | None,
    states: tuple[Any, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make room: remove old jobs, or parts of their folders.

    With --older-than and --keep whole jobs go, as with `prefd rm`; with both, those that both let go. With --checkpoints or
    --fused only these folders go, of all ended jobs or of those that --older-than and --keep let go.

    A job that another one still waits for stays, unless it is done, and so does one whose folder holds files of another
    job. Works without the daemon too.
    """
    if older_than is None and keep is None and not (checkpoints or fused):
        raise click.UsageError("say what: --older-than 30d, --keep 20, --checkpoints or --fused")
    from prefd.daemon.jobs.cleaning import (
        Keep,
        OlderThan,
        describe_plan,
        explain_foreign_files,
        measure_job,
        plan_cleaning,
    )

    rules: list[Rule] = [] if older_than is None else [OlderThan(older_than)]
    rules += [] if keep is None else [Keep(keep)]
    parts: list[Part] = [*(["checkpoints"] if checkpoints else []), *(["fused"] if fused else [])]  # type: ignore[list-item]
    with read_jobs(home) as table:
        jobs, dependents = table.briefs(), table.list_dependents()
    if group is not None:
        jobs = [job for job in jobs if job.group == group]
        if not jobs:
            raise Failure(f"there is no job in group {group!r}", Exit.NOT_FOUND)
    plan = plan_cleaning(
        jobs,
        rules,
        parts,
        partial(measure_job, home.runs),
        dependents,
        time.time(),
        states,
        partial(explain_foreign_files, home.runs),
    )
    problems: list[str] = []
    if not dry_run:
        plan.execute(
            lambda job_ids: problems.extend(change_jobs(home, "remove", job_ids)),
            lambda part, job_ids: problems.extend(discard_parts(home, part, job_ids)),
        )
    if as_json:
        render.emit_json(describe_plan(plan) | {"dry_run": dry_run, "problems": problems})
    else:
        show_plan(plan, dry_run)
    for problem in problems:
        render.print_warning(problem)


def show_plan(plan: CleanPlan, dry_run: bool) -> None:
    """Prints each step, or the largest of many, and what all of them free."""
    steps = (
        sorted(plan.steps, key=lambda step: -step.bytes)[:MOST_LINES] if len(plan.steps) > MOST_LINES else plan.steps
    )
    for step in steps:
        ended = f"{step.job.state} {format_clock(step.job.finished_at)}"
        click.echo(f"job {step.job.id} ({step.job.name}), {ended}: {NOUNS[step.part]}, {format_size(step.bytes)}")
    if omitted := len(plan.steps) - len(steps):
        click.echo(f"and {omitted:,} smaller ones")
    for job_id, reason in list(plan.kept.items())[:MOST_LINES]:
        render.print_note(f"job {job_id} stays: {reason}")
    if not plan.steps:
        render.print_note("there is nothing to delete")
        return
    jobs = pluralize(len({step.job.id for step in plan.steps}), "job")
    click.echo(f"{jobs}: {format_size(plan.bytes)} {'would be' if dry_run else 'are'} free again")
