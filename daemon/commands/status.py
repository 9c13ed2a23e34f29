"""`prefd status` shows what the daemon does, and what prefd takes of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from prefd.daemon.commands.shared.options import json_option, read_jobs, require_home
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.commands.shared.unattended import explain_unattended
from prefd.daemon.jobs.states import RUNNING
from prefd.daemon.runs.run_folder import Progress
from prefd.daemon.terminal import render
from prefd.daemon.terminal.status import client_facts, page_facts, power_facts, usage_facts, watch_facts
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.times import format_clock, format_duration
from prefd.daemon.text.version_skew import describe_skew

if TYPE_CHECKING:
    from prefd.daemon.control.status import SettingsInForce, Status
    from prefd.daemon.jobs.job import SizesOnDisk


PLACE = HelpPlace(Section.DAEMON, 30)

MOST_SIZES = 3
"""So many jobs are named that take the most on disk."""


@click.command(
    epilog="""\b
Examples:
  prefd status
  prefd status --json | jq .running
  prefd status > /dev/null || prefd start --detach"""
)
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show what the daemon is doing.

    Exit code 4 when it is not running.
    """
    from prefd.daemon.control.answers import parse_status
    from prefd.daemon.control.client import Client, DaemonNotRunning
    from prefd.daemon.health import usage
    from prefd.daemon.home.page_record import find_page
    from prefd.daemon.home.serve_record import find_server

    home = require_home(ctx.obj)
    try:
        document = Client(home).status_document()
    except DaemonNotRunning as error:
        with read_jobs(home) as jobs:
            counts, paused_at, sizes = jobs.counts(), jobs.queue_paused_at(), jobs.largest(MOST_SIZES)
            unattended = [(job.id, why) for job in jobs.list(*RUNNING) if (why := explain_unattended(home, job))]
        page = find_page(home)
        machine_usage = usage.measure_usage(home, page=page.pid if page else None)
        if as_json:
            home_facts: dict[str, Any] = {
                "home": str(home.root),
                "jobs": dict(counts),
                "queue": {"paused_at": paused_at},
                "unattended": {str(job_id): why for job_id, why in unattended},
            }
            home_facts["page"] = None if page is None else {"address": page.address, "pid": page.pid, "error": None}
            run_sizes = {"run_sizes": describe_sizes(sizes)}
            render.emit_json({"running": False, **home_facts, "usage": asdict(machine_usage), **run_sizes})
        else:
            facts = [
                ("daemon", error.state),
                ("home", str(home.root)),
                ("jobs", format_counts(counts)),
                *((f"job {job_id}", why) for job_id, why in unattended),
                *queue_facts(paused_at),
                *page_facts(page),
                *client_facts(find_server(home)),
                *usage_facts(machine_usage),
                *size_facts(sizes),
            ]
            render.open_stdout().print(render.make_facts(facts))
            render.print_note(str(error))
        ctx.exit(error.exit_code)
    daemon = parse_status(document)
    if skew := describe_skew(daemon.version):
        render.print_warning(skew)
    workers = {job.id: job.worker_pid for job in daemon.active if job.worker_pid is not None}
    page = find_page(home)
    machine_usage = usage.measure_usage(home, daemon.pid, workers, page.pid if page else None)
    with read_jobs(home) as jobs:
        sizes = jobs.largest(MOST_SIZES)
    if as_json:
        run_sizes = {"run_sizes": describe_sizes(sizes)}
        render.emit_json({"running": True, **document, "usage": asdict(machine_usage), **run_sizes})
    else:
        served = page_facts(page, daemon.page.error if daemon.page else None)
        served += client_facts(find_server(home), daemon.clients.error if daemon.clients else None)
        facts = [*daemon_facts(daemon), *served, *usage_facts(machine_usage), *size_facts(sizes)]
        render.open_stdout().print(render.make_facts(facts))


def size_facts(sizes: SizesOnDisk) -> list[tuple[str, str]]:
    """Lists what the folders of ended jobs take on disk, as it was measured, and which take the most."""
    if not sizes.largest:
        return []
    jobs = ", ".join(f"job {each.job} {format_size(each.bytes)}" for each in sizes.largest)
    return [("ended jobs", f"{format_size(sizes.bytes)} on disk, most by {jobs}")]


def describe_sizes(sizes: SizesOnDisk) -> dict[str, Any]:
    """Describes the same as `--json` prints it."""
    return {"bytes": sizes.bytes, "largest": [each._asdict() for each in sizes.largest]}


def daemon_facts(daemon: Status) -> list[tuple[str, str]]:
    """Lists the status of a daemon that runs, as names and values."""
    state = "stopping" if daemon.stopping else "running"
    uptime = format_duration(daemon.uptime_s)
    facts = [
        ("daemon", f"{state}, pid {daemon.pid}, up {uptime}, version {daemon.version}"),
        ("home", daemon.home),
        *(("", note) for note in daemon.notes),
        ("jobs", format_counts(daemon.jobs)),
        *queue_facts(daemon.queue.paused_at, daemon.queue.waits_for),
        *settings_facts(daemon.settings),
    ]
    for job in daemon.active:
        facts.append(("now", f"job {job.id} ({job.name}): {job.state}{format_progress(job.progress)}"))
    facts += watch_facts(daemon.watcher)
    catalog = daemon.catalog
    trouble = f"{catalog.losses}, as they last could be listed" if catalog.losses else "none"
    facts.append(("losses", str(catalog.losses) if not catalog.error else f"{trouble}: {catalog.error}"))
    facts += [("", f"plugin {name} cannot be loaded: {error}") for name, error in catalog.failed_plugins.items()]
    facts += [("workers", daemon.worker.limits)] if daemon.worker.limits else []
    facts += power_facts(daemon.power)
    return facts


def queue_facts(paused_at: float | None, waits_for: str | None = None) -> list[tuple[str, str]]:
    """Lists that no job starts, and what jobs wait for, where that is so. `paused_at` is Unix time."""
    reasons = [] if waits_for is None else [waits_for]
    if paused_at is not None:
        reasons.insert(0, f"paused by you since {format_clock(paused_at)}: no job starts until `prefd resume`")
    return [("queue" if number == 0 else "", reason) for number, reason in enumerate(reasons)]


def settings_facts(settings: SettingsInForce) -> list[tuple[str, str]]:
    """Lists how the settings that the daemon goes by differ from the defaults."""
    since = f"of {format_clock(settings.read_at)}" if settings.error else ""
    facts = " ".join(part for part in (since, ", ".join(settings.changed)) if part)
    return [("settings", facts)] if facts else []


def format_progress(progress: Progress | None) -> str:
    """Formats the progress of a running job, behind its state."""
    if progress is None:
        return ""
    eta = f", ETA {format_duration(progress.eta_s)}" if progress.eta_s is not None else ""
    note = f", {progress.note}" if progress.note else ""
    return f", {progress.describe_count()}{eta}{note}"


def format_counts(counts: Mapping[Any, int]) -> str:
    """Formats how many jobs are in each state."""
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none yet"
