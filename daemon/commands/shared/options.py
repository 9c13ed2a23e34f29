"""What several commands share: the `--json` option, the home that must be there, its jobs and their spec."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.home.layout import Home

if TYPE_CHECKING:
    from prefd.daemon.jobs.table import JobTable
    from prefd.daemon.specs.job_spec import JobSpec

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")(command)


def require_home(home: Home) -> Home:
    """`home`, or a failure that says how to make it."""
    if not home.root.is_dir():
        raise Failure(f"no home at {home.root}\nmake it with `prefd init`, or name another with --home", Exit.NOT_FOUND)
    return home


def read_jobs(home: Home) -> JobTable:
    """The job table of a home, read-only: it works with the daemon and without, and is empty where no job ever was."""
    from prefd.daemon.jobs.table import JobTable

    return JobTable.open_readonly(require_home(home).database)


def read_spec(jobs: JobTable, job_id: int) -> JobSpec | None:
    """A job's spec; None where this version of prefd does not understand it."""
    try:
        return jobs.spec(job_id)
    except ValueError:
        return None
