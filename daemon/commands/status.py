"""`prefd status`: what the daemon does, and what it all takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from prefd.daemon import render
from prefd.daemon.commands.common import json_option, read_jobs, require_home
from prefd.daemon.commands.errors import Exit
from prefd.daemon.moments import format_clock, format_duration
from prefd.daemon.watchhealth import usage_facts, watch_facts


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

    Exit code 4 when it is not running."""
    from prefd.daemon import usage
    from prefd.daemon.client import Client, DaemonNotRunning

    home = require_home(ctx.obj)
    try:
        answer: dict[str, Any] = Client(home).status()
    except DaemonNotRunning as error:
        with read_jobs(home) as jobs:
            counts, paused_at = jobs.counts(), jobs.queue_paused_at()
        queue = {"paused_at": paused_at}
        taken = usage.gather(home)
        if as_json:
            known = {"home": str(home.root), "jobs": dict(counts), "queue": queue, "usage": taken}
            render.emit_json({"running": False, **known})
        else:
            facts = [
                ("daemon", "not running"),
                ("home", str(home.root)),
                ("jobs", count_jobs(counts)),
                *queue_facts(queue),
                *usage_facts(taken),
            ]
            render.stdout().print(render.facts(facts))
            render.note(str(error))
        ctx.exit(Exit.NO_DAEMON)
    workers = {job["id"]: job["worker_pid"] for job in answer["active"] if job["worker_pid"] is not None}
    taken = usage.gather(home, answer["pid"], workers)
    if as_json:
        render.emit_json({"running": True, **answer, "usage": taken})
    else:
        render.stdout().print(render.facts([*describe(answer), *usage_facts(taken)]))


def describe(answer: dict[str, Any]) -> list[tuple[str, str]]:
    state = "stopping" if answer["stopping"] else "running"
    up = format_duration(answer["uptime_s"])
    facts = [
        ("daemon", f"{state}, pid {answer['pid']}, up {up}, version {answer['version']}"),
        ("home", answer["home"]),
        ("jobs", count_jobs(answer["jobs"])),
        *queue_facts(answer["queue"]),
    ]
    for job in answer["active"]:
        facts.append(("now", f"job {job['id']} ({job['name']}): {job['state']}{how_far(job.get('progress'))}"))
    facts += watch_facts(answer["watcher"])
    catalog = answer["catalog"]
    facts.append(("losses", str(catalog["losses"]) if not catalog["error"] else f"none: {catalog['error']}"))
    facts += [("workers", answer["worker"]["limits"])] if answer["worker"]["limits"] else []
    return facts


def queue_facts(queue: Mapping[str, Any]) -> list[tuple[str, str]]:
    """That no job starts, where that is so."""
    if queue["paused_at"] is None:
        return []
    return [("queue", f"paused by you since {format_clock(queue['paused_at'])}: no job starts until `prefd resume`")]


def how_far(progress: dict[str, Any] | None) -> str:
    if not progress:
        return ""
    eta = f", ETA {format_duration(progress['eta_s'])}" if progress.get("eta_s") is not None else ""
    return f", {progress['done']}/{progress['total']} {progress['unit']}{eta}"


def count_jobs(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none yet"
