"""`prefd events` prints what happens to jobs, as it happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.shared.completions import JOB
from prefd.daemon.commands.shared.options import json_option, pass_timing, require_home
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.streams import end_with_reader
from prefd.daemon.terminal import render
from prefd.daemon.text.json_output import add_schema, dump_compact
from prefd.daemon.text.times import format_clock
from prefd.daemon.text.wording import format_number
from prefd.daemon.timing import Timing
from prefd.plugins.metrics import EVAL, LABELS

if TYPE_CHECKING:
    from prefd.daemon.control.client import Received


PLACE = HelpPlace(Section.JOBS, 90)


@click.command(
    epilog="""\b
Examples:
  prefd events                    every change of a job, and what training reports
  prefd events 3
  prefd events --after 0          from the first job on
  prefd events --json | jq 'select(.event == "job") | .data.state'"""
)
@click.argument("job_id", metavar="[ID]", required=False, type=JOB)
@click.option("--after", metavar="EVENT", help="Go on behind this event (the `id` of --json); 0: from the first.")
@json_option
@pass_timing
@click.pass_obj
def events(home: Home, timing: Timing, job_id: int | None, after: str | None, as_json: bool) -> None:
    """Follow all jobs, or one, until Ctrl-C.

    Over a restart of the daemon it goes on where it was, with nothing missed and nothing twice. With --json, one
    document a line, progress too. Exit code 4 when no daemon runs.
    """
    from prefd.daemon.jobs.event_kinds import QueueEvent

    last_id = after
    end_with_reader()
    was_paused = False
    try:
        for event in follow_events(home, timing, after, job_id):
            last_id = event.id
            if as_json:
                record = add_schema({"id": event.id, "event": event.kind, "data": event.document})
                click.echo(dump_compact(record))
            elif isinstance(event.data, QueueEvent):
                is_paused = event.data.paused_at is not None
                if is_paused != was_paused:
                    click.echo("the queue is paused" if is_paused else "the queue goes on")
                was_paused = is_paused
            elif line := format_event(event):
                click.echo(line)
    except KeyboardInterrupt:
        if last_id is not None:
            render.print_note(f"`prefd events --after {last_id}` goes on from here")


def follow_events(home: Home, timing: Timing, after: str | None, job_id: int | None) -> Iterator[Received]:
    """Yields events without end, over restarts of the daemon. Raises DaemonNotRunning when it has been gone for a while."""
    from prefd.daemon.control.client import Client, DaemonNotRunning

    client = Client(require_home(home))
    last_contact: float | None = None
    while True:
        try:
            for event in client.events(after, job_id):
                after = event.id
                if event.kind != "open":
                    yield event
            last_contact = time.monotonic()
        except DaemonNotRunning:
            if last_contact is None or time.monotonic() - last_contact > timing.daemon_return:
                raise
        time.sleep(timing.events_retry)


def format_event(event: Received) -> str:
    """Formats an event as one line; empty for what `prefd watch` shows better."""
    from prefd.daemon.jobs.event_kinds import JobEvent, MetricsEvent, RemovedEvent, ResetEvent

    match event.data:
        case JobEvent() as change:
            reason = (change.reason.splitlines() or [""])[0]
            state = f"{change.state}: {reason}" if reason else change.state
            return f"{format_clock(change.at)}  job {change.job} ({change.name})  {state}"
        case RemovedEvent() as removal:
            return f"{format_clock(removal.at)}  job {removal.job} ({removal.name})  {removal.reason}"
        case MetricsEvent() as report:
            values = {key.removeprefix(EVAL): value for key, value in report.values.items()}
            held_out = "  held out:" if values.keys() != report.values.keys() else ""
            numbers = [f"{name} {format_number(values[key])}" for key, name in LABELS.items() if key in values]
            return f"job {report.job}  step {values.get('step', '-')}{held_out}  {'  '.join(numbers)}"
        case ResetEvent() as reset:
            return f"the events begin again: {reset.reason}"
    return ""
