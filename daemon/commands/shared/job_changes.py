"""Changes jobs for the commands: through the daemon where one runs, else in the database and the folders themselves.

What deletes files does so under the home's lock, so that no daemon starts in the midst of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from prefd.daemon.home.layout import Home

if TYPE_CHECKING:
    from prefd.daemon.control.client import Client
    from prefd.daemon.jobs.job import Job
    from prefd.daemon.jobs.table import JobTable


@contextmanager
def open_table_alone(home: Home, locked: bool = False) -> Iterator[JobTable]:
    """Opens the job table for writing where no daemon runs; `locked`: none can start meanwhile.

    A home that was copied first becomes one of its own, as at the start of its daemon, so that a request about its jobs here
    still counts then.
    """
    from prefd.daemon.home.lock import hold_lock
    from prefd.daemon.home.runs_owner import claim_runs
    from prefd.daemon.jobs.home_copies import is_unsettled
    from prefd.daemon.jobs.rebuild import open_table
    from prefd.daemon.jobs.table import JobTable

    unsettled = is_unsettled(home)
    if not unsettled:
        claim_runs(home)
    if unsettled or locked:
        home.create()  # a backup may have come without run/
        with hold_lock(home), open_table(home) if unsettled else JobTable.open(home.database) as table:
            yield table  # what was found at the opening is logged, which a command prints
    else:
        with JobTable.open(home.database) as table:
            yield table


def settle_alone(home: Home) -> None:
    """Makes a home that was copied one of its own before something new is begun in it, which would be held as a copy's."""
    from prefd.daemon.jobs.home_copies import is_unsettled

    if is_unsettled(home):
        with open_table_alone(home):
            pass


def change_jobs(home: Home, action: str, job_ids: Sequence[int]) -> list[str]:
    """Does one of JOBS_ACTIONS to all of these jobs, or to none. Returns what could not be deleted, a line each."""
    from prefd.daemon.jobs.actions import JOBS_ACTIONS

    def change_table() -> list[str]:
        with open_table_alone(home) as table:
            JOBS_ACTIONS[action](table, job_ids)
        return []

    def remove() -> list[str]:
        from prefd.daemon.jobs.leftovers import finish_removals

        with open_table_alone(home, locked=True) as table:
            table.remove(job_ids)
            return finish_removals(home, table)

    return _ask(
        home, lambda client: client.act_on_jobs(action, job_ids), remove if action == "remove" else change_table
    )


def discard_parts(home: Home, part: str, job_ids: Sequence[int]) -> list[str]:
    """Deletes the `checkpoints` or `fused` folders of ended jobs. Returns what could not be deleted, a line each."""

    def discard() -> list[str]:
        from prefd.daemon.jobs.leftovers import finish_removals, set_aside

        with open_table_alone(home, locked=True) as table:
            table.discard(home.runs, job_ids, part, partial(set_aside, home))
            return finish_removals(home, table)

    return _ask(home, lambda client: client.discard(part, job_ids), discard)


def edit_job(home: Home, job_id: int, request: Mapping[str, Any]) -> Job:
    """Changes what a job that waits is, and returns it. `request`: as EditRequest."""
    from prefd.daemon.control.client import Client, DaemonNotRunning

    with _explained_refusals():
        try:
            return Client(home).edit(job_id, request)
        except DaemonNotRunning:
            return _edit_directly(home, job_id, request)


def edit_settings(home: Home, job_ids: Sequence[int], settings: Mapping[str, Any]) -> list[Job]:
    """Changes the same settings of jobs that wait, of all or of none, and returns them."""
    from prefd.daemon.control.client import Client, DaemonNotRunning

    with _explained_refusals():
        try:
            return Client(home, timeout=60.0).edit_settings(job_ids, settings)
        except DaemonNotRunning:
            with open_table_alone(home) as table:
                return table.edit_settings(job_ids, settings)


def _edit_directly(home: Home, job_id: int, request: Mapping[str, Any]) -> Job:
    from prefd.daemon.jobs.edits import refuse_uneditable
    from prefd.daemon.specs.catalog_listing import load_catalog
    from prefd.daemon.specs.edited_spec import EditRequest, read_base, read_edited_spec

    edit = EditRequest.model_validate(request)
    with open_table_alone(home) as table:
        refuse_uneditable(table.get(job_id))
        current = table.spec(job_id)
        spec = read_edited_spec(current, edit, load_catalog(home) if edit.spec is not None else None, home.jobs)
        return table.edit(job_id, spec, read_base(edit, current))


def _ask(home: Home, ask: Callable[[Client], None], directly: Callable[[], list[str]]) -> list[str]:
    from prefd.daemon.control.client import Client, DaemonNotRunning

    with _explained_refusals():
        try:
            ask(Client(home, timeout=60.0))
        except DaemonNotRunning:
            return directly()
    return []


@contextmanager
def _explained_refusals() -> Iterator[None]:
    """Raises JobNotFound where the daemon says so, for the exit code."""
    from prefd.daemon.control.control_error import ControlError
    from prefd.daemon.jobs.job import JobNotFound

    try:
        yield
    except ControlError as error:
        if error.status == 404:
            raise JobNotFound(str(error)) from None
        raise
