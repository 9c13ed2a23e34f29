"""`prefd start`, `prefd stop`, `prefd status`: the daemon's life."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from prefd.daemon import blas, render
from prefd.daemon.commands.common import json_option, read_jobs, require_home
from prefd.daemon.commands.errors import Exit, Failure
from prefd.daemon.commands.home import make_home
from prefd.daemon.home import Home
from prefd.daemon.watchhealth import watch_facts

START_SECONDS = 60.0  # for the socket to answer; the catalogue's child may be slow on a cold disk
STOP_MARGIN_SECONDS = 15.0  # beyond the worker's own grace
LOG_LINES = 15


@click.command(
    epilog="""\b
Examples:
  prefd start --detach
  prefd start                     in the foreground: logs to stderr, Ctrl-C stops it"""
)
@click.option("--detach", is_flag=True, help="Return once it answers; its output goes to <home>/daemon.log.")
@click.pass_obj
def start(home: Home, detach: bool) -> None:
    """Start the daemon.

    It watches <home>/jobs and runs what is put there, one job at a time unless config.toml says otherwise; jobs that were queued or running when it last
    stopped go on. Makes the home if it is not there.
    """
    from prefd.daemon import lock

    if not home.root.is_dir():
        make_home(home)
        render.note(f"made a home at {home.root}")
    if blas.is_missing():
        render.warn(blas.MISSING)
    if not detach:
        from prefd.daemon.service import serve

        serve(home)
        return
    if (held := lock.holder(home)) is not None:
        raise Failure(f"the daemon is already running here: pid {held.pid}\nsee `prefd status`, or `prefd stop` it")
    pid = start_detached(home)
    click.echo(pid)
    render.note(f"the daemon runs with pid {pid}; its log is {home.log}")


def start_detached(home: Home) -> int:
    """A daemon in a session of its own, once its control socket answers; its pid."""
    with home.log.open("ab") as log:
        begin = log.tell()
        daemon = subprocess.Popen(
            [sys.executable, "-P", "-m", "prefd.daemon.cli", "--home", str(home.root), "start"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home.root,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while (code := daemon.poll()) is None:
        if answers(home, daemon.pid):
            daemon.returncode = 0  # it outlives us: nothing for Popen to wait for or to warn of
            return daemon.pid
        if time.monotonic() > deadline:
            daemon.terminate()
            raise Failure(
                f"the daemon did not answer within {START_SECONDS:.0f} s and was ended\n{tail(home.log, begin)}"
            )
        time.sleep(0.1)
    raise Failure(f"the daemon ended at once, with exit code {code}\n{tail(home.log, begin)}")


def answers(home: Home, pid: int) -> bool:
    from prefd.daemon.client import Client, ControlError, DaemonNotRunning

    try:
        return bool(Client(home).status()["pid"] == pid)
    except (DaemonNotRunning, ControlError):
        return False


def tail(log: Path, begin: int) -> str:
    """The last lines that were written to `log` since byte `begin`."""
    with log.open("rb") as file:
        file.seek(begin)
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    return "\n".join([f"{log} ends with:", *lines[-LOG_LINES:]]) if lines else f"{log} says nothing"


@click.command(
    epilog="""\b
Examples:
  prefd stop
  prefd stop && prefd start --detach      restart it"""
)
@click.pass_obj
def stop(home: Home) -> None:
    """Stop the daemon and wait for its end.

    A running job saves its state and goes on at the next start."""
    from prefd.daemon.client import Client
    from prefd.daemon.config import Config, ConfigError

    try:
        grace = Config.load(require_home(home)).stop_grace_seconds
    except ConfigError:  # edited since the daemon started; it still has to be stopped
        grace = Config().stop_grace_seconds
    wait = grace + STOP_MARGIN_SECONDS
    client = Client(home)
    if client.status()["active"]:
        render.note(f"waiting for what runs to save its state, up to {grace:.0f} s")
    if not client.stop(wait_seconds=wait):
        raise Failure(f"asked the daemon to stop, and it has not ended within {wait:.0f} s: see `prefd status`")
    render.note("the daemon has stopped")


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
    from prefd.daemon.client import Client, DaemonNotRunning

    home = require_home(ctx.obj)
    try:
        answer: dict[str, Any] = Client(home).status()
    except DaemonNotRunning as error:
        with read_jobs(home) as jobs:
            counts, paused_at = jobs.counts(), jobs.queue_paused_at()
        queue = {"paused_at": paused_at}
        if as_json:
            render.emit_json({"running": False, "home": str(home.root), "jobs": dict(counts), "queue": queue})
        else:
            facts = [
                ("daemon", "not running"),
                ("home", str(home.root)),
                ("jobs", count_jobs(counts)),
                *queue_facts(queue),
            ]
            render.stdout().print(render.facts(facts))
            render.note(str(error))
        ctx.exit(Exit.NO_DAEMON)
    if as_json:
        render.emit_json({"running": True, **answer})
    else:
        render.stdout().print(render.facts(describe(answer)))


def describe(answer: dict[str, Any]) -> list[tuple[str, str]]:
    state = "stopping" if answer["stopping"] else "running"
    up = render.duration(answer["uptime_s"])
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
    facts.append(("memory", render.size(answer["memory_rss_bytes"])))
    return facts


def queue_facts(queue: Mapping[str, Any]) -> list[tuple[str, str]]:
    """That no job starts, where that is so."""
    if queue["paused_at"] is None:
        return []
    return [("queue", f"paused by you since {render.clock(queue['paused_at'])}: no job starts until `prefd resume`")]


def how_far(progress: dict[str, Any] | None) -> str:
    if not progress:
        return ""
    eta = f", ETA {render.duration(progress['eta_s'])}" if progress.get("eta_s") is not None else ""
    return f", {progress['done']}/{progress['total']} {progress['unit']}{eta}"


def count_jobs(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "none yet"
