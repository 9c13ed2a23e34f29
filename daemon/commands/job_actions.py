"""`prefd cancel`, `pause`, `resume` and `retry` act on jobs that were handed in, and on the queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.shared.completions import ACTIVE_JOB, ENDED_JOB, PAUSED_JOB
from prefd.daemon.commands.shared.options import json_option, read_jobs
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import RUNNING
from prefd.daemon.terminal import render

if TYPE_CHECKING:
    from prefd.daemon.control.api.responses import Acted
    from prefd.daemon.jobs.table import Job

PLACE = HelpPlace(Section.JOBS, 100)
Tell = Callable[["Job", "Job"], tuple[bool, str]]
"""Whether something came of it, and what became of a job, given as it was before and as it is now."""


@click.command(
    epilog="""\b
Examples:
  prefd cancel 3
  prefd cancel 4 5 6"""
)
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True, type=ACTIVE_JOB)
@json_option
@click.pass_obj
def cancel(home: Home, job_ids: tuple[int, ...], as_json: bool) -> None:
    """Call jobs off.

    A queued or paused one ends at once; a running one when its worker has stopped, within seconds.

    What was already scored stays in the cache. Works without the daemon too.
    """
    act_on_jobs(home, "cancel", job_ids, tell_cancelled, as_json)


@click.command(
    epilog="""\b
Examples:
  prefd pause 3             job 3 saves its state and gives its memory back
  prefd pause               nothing new starts; what runs goes on
  prefd pause --all         and what runs is paused too"""
)
@click.argument("job_ids", metavar="[ID]...", nargs=-1, type=ACTIVE_JOB)
@click.option("--all", "everything", is_flag=True, help="The queue and every running job.")
@json_option
@click.pass_obj
def pause(home: Home, job_ids: tuple[int, ...], everything: bool, as_json: bool) -> None:
    """Pause jobs, or the whole queue.

    A running job saves its state and its worker ends, which frees the memory; `prefd resume ID` takes it up where it
    stood. A job that waits will not start. Without IDs, no job is started, and what runs goes on to its end, unless
    --all.

    A pause lasts until the resume, over restarts of the daemon. Works without the daemon too.
    """
    if job_ids:
        refuse_all_with_ids(everything)
        act_on_jobs(home, "pause", job_ids, tell_paused, as_json)
        return
    with read_jobs(home) as table:
        running = [job for job in table.list(*RUNNING) if job.owner == "daemon"]
    answer = ask_queue(home, "pause-all" if everything else "pause")
    if as_json:
        render.emit_json(answer.to_json())
        return
    click.echo("the queue is paused: no job starts until `prefd resume`")
    for job in running:
        if everything:
            click.echo(f"job {job.id} ({job.name}) is {job.state}, and is paused as soon as its state is saved")
        else:
            render.print_note(
                f"job {job.id} ({job.name}) is {job.state} and goes on to its end: `prefd pause --all` pauses it"
            )


@click.command(
    epilog="""\b
Examples:
  prefd resume 3            job 3 goes on from where it stood
  prefd resume              jobs start again
  prefd resume --all        and every paused job goes on"""
)
@click.argument("job_ids", metavar="[ID]...", nargs=-1, type=PAUSED_JOB)
@click.option("--all", "everything", is_flag=True, help="The queue and every paused job.")
@json_option
@click.pass_obj
def resume(home: Home, job_ids: tuple[int, ...], everything: bool, as_json: bool) -> None:
    """Let paused jobs, or the queue, go on.

    A paused job is queued again and goes on from its last checkpoint. Without IDs, the queue starts jobs again; jobs
    that were paused by themselves stay so, unless --all.
    """
    if job_ids:
        refuse_all_with_ids(everything)
        act_on_jobs(home, "resume", job_ids, tell_resumed, as_json)
        return
    answer = ask_queue(home, "resume-all" if everything else "resume")
    if as_json:
        render.emit_json(answer.to_json())
        return
    click.echo("jobs start again")
    for job in answer.jobs:
        click.echo(f"job {job.id} ({job.name}) goes on from where it stood")
    with read_jobs(home) as table:
        paused_ids = [str(job.id) for job in table.list() if job.pausing]
    if paused_ids:
        render.print_note(f"still paused: {', '.join(paused_ids)}; `prefd resume --all` resumes these too")


@click.command(
    epilog="""\b
Examples:
  prefd retry 3             go on from the last checkpoint
  prefd retry 3 --fresh     begin from nothing"""
)
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True, type=ENDED_JOB)
@click.option("--fresh", is_flag=True, help="Begin from nothing; what there is goes to runs/<id>/attempts/.")
@json_option
@click.pass_obj
def retry(home: Home, job_ids: tuple[int, ...], fresh: bool, as_json: bool) -> None:
    """Run ended jobs again.

    A failed or cancelled job is queued again under its own number and keeps its history. It goes on from its last
    checkpoint: metrics.jsonl is kept up to there, and each phase's outcome is replaced as the phase begins.

    With --fresh it begins from nothing, a job that is done too: metrics, outcomes, checkpoints and adapter of before
    are moved to runs/<id>/attempts/<attempt>/, and the log goes on. Scored completions stay in the cache either way.

    A job of `prefd run` becomes the daemon's. Works without the daemon too.
    """
    act_on_jobs(home, "retry-fresh" if fresh else "retry", job_ids, tell_retried, as_json)


def refuse_all_with_ids(everything: bool) -> None:
    """Refuses `--all` beside the numbers of jobs."""
    if everything:
        raise click.UsageError("--all is for all jobs: give IDs or --all, not both")


def act_on_jobs(home: Home, action: str, job_ids: tuple[int, ...], tell: Tell, as_json: bool) -> None:
    """Asks `action` of each job; all of them exist, or none is touched."""
    with read_jobs(home) as table:
        before = [table.get(job_id) for job_id in job_ids]
    after = [ask_job(home, action, job.id) for job in before]
    if as_json:
        render.emit_json({"jobs": [job.to_json() for job in after]})
        return
    for job, job_now in zip(before, after):
        has_effect, message = tell(job, job_now)
        (click.echo if has_effect else render.print_note)(f"job {job.id} ({job.name}) {message}")


def tell_cancelled(job: Job, after: Job) -> tuple[bool, str]:
    """Says what became of a job that was cancelled."""
    if job.ended:
        return False, f"had already ended: {job.state}"
    return True, "is cancelled" if after.state == "cancelled" else f"is {after.state} and will stop"


def tell_paused(job: Job, after: Job) -> tuple[bool, str]:
    """Says what became of a job that was paused."""
    if job.ended:
        return False, f"had already ended: {job.state}"
    if job.pausing:
        return False, "was paused already"
    if after.state == "paused":
        return True, "is paused"
    return True, f"is {after.state}, and is paused as soon as its state is saved"


def tell_resumed(job: Job, after: Job) -> tuple[bool, str]:
    """Says what became of a job that was resumed."""
    if job.pausing:
        return True, "goes on from where it stood"
    return False, f"has ended: {job.state}" if job.ended else f"was not paused: it is {after.state}"


def tell_retried(job: Job, after: Job) -> tuple[bool, str]:
    """Says what became of a job that was retried."""
    return True, f"is {after.state} again, attempt {after.attempt}"


def ask_job(home: Home, action: str, job_id: int) -> Job:
    """Asks the daemon, or acts on the table where none runs, where `prefd run` and the next daemon look. Returns the job as it is now."""
    from prefd.daemon.control.client import Client, DaemonNotRunning
    from prefd.daemon.control.control_error import ControlError
    from prefd.daemon.jobs.actions import JOB_ACTIONS
    from prefd.daemon.jobs.table import JobNotFound, JobTable

    try:
        return Client(home).act(action, job_id)
    except ControlError as error:
        if error.status == 404:
            raise JobNotFound(str(error)) from None
        raise
    except DaemonNotRunning:
        with JobTable.open(home.database) as table:
            return JOB_ACTIONS[action](table, job_id)


def ask_queue(home: Home, action: str) -> Acted:
    """Asks the daemon, or acts on the table where none runs. Returns the queue as it is now and the jobs acted on."""
    from prefd.daemon.control.client import Client, DaemonNotRunning
    from prefd.daemon.jobs.actions import QUEUE_ACTIONS
    from prefd.daemon.jobs.table import JobTable

    try:
        return Client(home).act_on_queue(action)
    except DaemonNotRunning:
        from prefd.daemon.control.api.responses import Acted
        from prefd.daemon.control.status import Queue

        with JobTable.open(home.database) as table:
            jobs = QUEUE_ACTIONS[action](table)
            return Acted(queue=Queue(paused_at=table.queue_paused_at()), jobs=jobs)
