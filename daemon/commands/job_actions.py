"""`prefd cancel`, `pause`, `resume` and `retry` act on jobs that were handed in, and on the queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.shared.completions import ACTIVE_JOBS, ENDED_JOBS, PAUSED_JOBS
from prefd.daemon.commands.shared.job_changes import change_jobs, open_table_alone
from prefd.daemon.commands.shared.options import json_option, read_jobs
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.commands.shared.selection import JobSelection, select_jobs, selection_options
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import RUNNING
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render
from prefd.daemon.text.wording import pluralize

if TYPE_CHECKING:
    from prefd.daemon.control.answers import Acted
    from prefd.daemon.jobs.job import Brief

PLACE = HelpPlace(Section.JOBS, 100)

MOST_LINES = 20
"""So many jobs are told of by a line each; of more, by what became of them."""

Tell = Callable[["Brief", "Brief"], tuple[bool, str]]
"""Whether something came of it, and what became of a job, given as it was before and as it is now."""


@click.command(
    epilog="""\b
Examples:
  prefd cancel 3
  prefd cancel 4-6 9
  prefd cancel --group sweep
  prefd cancel --state queued"""
)
@selection_options(ACTIVE_JOBS, "Every job that has not ended.")
@json_option
@click.pass_obj
def cancel(home: Home, selection: JobSelection, as_json: bool) -> None:
    """Call jobs off.

    A queued or paused one ends at once; a running one when its worker has stopped, within seconds.

    What was already scored stays in the cache. A job that was to run after one of them is held. Works without the daemon
    too.
    """
    act_on_jobs(home, "cancel", selection, lambda job: not job.ended, tell_cancelled, as_json)


@click.command(
    epilog="""\b
Examples:
  prefd pause 3             job 3 saves its state and gives its memory back
  prefd pause --group sweep
  prefd pause               nothing new starts; what runs goes on
  prefd pause --all         and what runs is paused too"""
)
@selection_options(ACTIVE_JOBS, "The queue and every running job.", required=False)
@json_option
@click.pass_obj
def pause(home: Home, selection: JobSelection, as_json: bool) -> None:
    """Pause jobs, or the whole queue.

    A running job saves its state and its worker ends, which frees the memory; `prefd resume ID` takes it up where it
    stood. A job that waits will not start. Without IDs, no job is started, and what runs goes on to its end, unless
    --all.

    A pause lasts until the resume, over restarts of the daemon. Works without the daemon too.
    """
    everything = selection.everything
    if selection.narrowed:
        act_on_jobs(home, "pause", selection, can_be_paused, tell_paused, as_json)
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
  prefd resume --group sweep
  prefd resume              jobs start again
  prefd resume --all        and every paused job goes on"""
)
@selection_options(PAUSED_JOBS, "The queue and every paused job.", required=False)
@json_option
@click.pass_obj
def resume(home: Home, selection: JobSelection, as_json: bool) -> None:
    """Let paused jobs, or the queue, go on.

    A paused job is queued again and goes on from its last checkpoint. Without IDs, the queue starts jobs again; jobs
    that were paused by themselves stay so, unless --all.
    """
    everything = selection.everything
    if selection.narrowed:
        act_on_jobs(home, "resume", selection, lambda job: job.pausing, tell_resumed, as_json)
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
  prefd retry 3 --fresh     begin from nothing
  prefd retry --state failed
  prefd retry --group sweep --state failed"""
)
@selection_options(ENDED_JOBS, "Every failed and cancelled job.")
@click.option("--fresh", is_flag=True, help="Begin from nothing; what there is goes to runs/<id>/attempts/.")
@json_option
@click.pass_obj
def retry(home: Home, selection: JobSelection, fresh: bool, as_json: bool) -> None:
    """Run ended jobs again.

    A failed or cancelled job is queued again under its own number and keeps its history. It goes on from its last
    checkpoint: metrics.jsonl is kept up to there, and each phase's outcome is replaced as the phase begins.

    With --fresh it begins from nothing, a job that is done too: metrics, outcomes, checkpoints and adapter of before
    are moved to runs/<id>/attempts/<attempt>/, and the log goes on. Scored completions stay in the cache either way.

    Jobs that failed because a retried one had failed, which they were to run after, are queued again with it.

    A job of `prefd run` becomes the daemon's. Works without the daemon too.
    """
    action = "retry-fresh" if fresh else "retry"
    with_done = fresh and selection.narrowed
    lost: dict[int, str] = {}
    followers: set[int] = set()

    def find_followers(job_ids: Sequence[int]) -> list[Brief]:
        with read_jobs(home) as table:
            jobs = table.briefs([job.id for job in table.followers(job_ids)])
        followers.update(job.id for job in jobs)
        return jobs

    def tell(job: Brief, after: Brief) -> tuple[bool, str]:
        has_effect, message = tell_retried(job, after)
        return has_effect, f"{message}, since it failed for one of these" if job.id in followers else message

    def can_be_retried(job: Brief) -> bool:
        return job.ended and (with_done or job.state != "done")

    for job in act_on_jobs(
        home, action, selection, can_be_retried, tell, as_json, narrow_ranges=True, find_more=find_followers
    ):
        if job.finished_at is not None and not RunDir(home.job(job.id)).spec.exists():
            lost[job.id] = str(home.job(job.id))
    for job_id, folder in list(lost.items())[:MOST_LINES]:
        render.print_note(f"job {job_id}: its folder {folder} is gone, so it begins from nothing")


def act_on_jobs(
    home: Home,
    action: str,
    selection: JobSelection,
    fits: Callable[[Brief], bool],
    tell: Tell,
    as_json: bool,
    narrow_ranges: bool = False,
    find_more: Callable[[Sequence[int]], list[Brief]] = lambda job_ids: [],
) -> list[Brief]:
    """Asks `action` of each job of the selection, of all or of none, and returns all that it changed as they were before.

    `narrow_ranges`: as in `select_jobs`, for an action that a job which does not fit would refuse. `find_more`: which other
    jobs the action changes with these.
    """
    before = select_jobs(home, selection, fits, narrow_ranges)
    if before:
        job_ids = [job.id for job in before]
        before += find_more(job_ids)
        change_jobs(home, action, job_ids)
    if as_json:
        with read_jobs(home) as table:
            render.emit_json({"jobs": [table.get(job.id).to_json() for job in before]})
        return before
    if not before:
        render.print_note(f"there is no job to {action.removesuffix('-fresh')}")
        return before
    with read_jobs(home) as table:
        after = {job.id: job for job in table.briefs([job.id for job in before])}
    results = [(job, *tell(job, after[job.id])) for job in before if job.id in after]
    if len(results) <= MOST_LINES:
        for job, has_effect, message in results:
            (click.echo if has_effect else render.print_note)(f"job {job.id} ({job.name}) {message}")
        return before
    for (has_effect, message), jobs in group_results(results).items():
        ids = f"{jobs[0].id} … {jobs[-1].id}" if len(jobs) > 1 else str(jobs[0].id)
        line = f"{pluralize(len(jobs), 'job')} ({ids}): each {message}"
        (click.echo if has_effect else render.print_note)(line)
    return before


def group_results(results: Sequence[tuple[Brief, bool, str]]) -> dict[tuple[bool, str], list[Brief]]:
    """Groups jobs by what became of them."""
    groups: dict[tuple[bool, str], list[Brief]] = {}
    for job, has_effect, message in results:
        groups.setdefault((has_effect, message), []).append(job)
    return groups


def can_be_paused(job: Brief) -> bool:
    """Returns whether a pause has any effect on the job."""
    return not job.ended and not job.pausing and job.owner == "daemon"


def tell_cancelled(job: Brief, after: Brief) -> tuple[bool, str]:
    """Says what became of a job that was cancelled."""
    if job.ended:
        return False, f"had already ended: {job.state}"
    return True, "is cancelled" if after.state == "cancelled" else f"is {after.state} and will stop"


def tell_paused(job: Brief, after: Brief) -> tuple[bool, str]:
    """Says what became of a job that was paused."""
    if job.ended:
        return False, f"had already ended: {job.state}"
    if job.pausing:
        return False, "was paused already"
    if after.state == "paused":
        return True, "is paused"
    return True, f"is {after.state}, and is paused as soon as its state is saved"


def tell_resumed(job: Brief, after: Brief) -> tuple[bool, str]:
    """Says what became of a job that was resumed."""
    if job.pausing:
        return True, "goes on from where it stood"
    return False, f"has ended: {job.state}" if job.ended else f"was not paused: it is {after.state}"


def tell_retried(job: Brief, after: Brief) -> tuple[bool, str]:
    """Says what became of a job that was retried, by itself or with one that it is to run after."""
    if after.attempt == job.attempt:  # it has ended otherwise in the moment before
        return False, f"is {after.state}"
    return True, f"is {after.state} again, attempt {after.attempt}"


def ask_queue(home: Home, action: str) -> Acted:
    """Asks the daemon, or acts on the table where none runs. Returns the queue as it is now and the jobs acted on."""
    from prefd.daemon.control.client import Client, DaemonNotRunning
    from prefd.daemon.jobs.actions import QUEUE_ACTIONS

    try:
        return Client(home).act_on_queue(action)
    except DaemonNotRunning:
        from prefd.daemon.control.answers import Acted
        from prefd.daemon.control.status import Queue

        with open_table_alone(home) as table:
            jobs = QUEUE_ACTIONS[action](table)
            return Acted(queue=Queue(paused_at=table.queue_paused_at()), jobs=jobs)
