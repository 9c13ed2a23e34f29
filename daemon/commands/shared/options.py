"""The `--json` option, the waits, the home that must exist and its jobs are shared by several commands."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.owners import find_owner, is_closed, name_user, write_sudo
from prefd.daemon.terminal import render
from prefd.daemon.text.time_zone import explain_unknown_zone

if TYPE_CHECKING:
    from prefd.daemon.jobs.table import JobTable

TIMING = "prefd.daemon.timing"
"""In click's context: how long the commands wait for what."""
F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Adds `--json` to a command."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")(command)


def pass_timing(command: F) -> F:
    """Hands a command its waits as an argument behind the home or the context."""
    return cast(F, click.decorators.pass_meta_key(TIMING)(command))


def require_home(home: Home) -> Home:
    """Returns `home`, or raises a failure that says how to make it."""
    if is_closed(home.root):
        owner = find_owner(home.root)
        problem = f"{home.root} is closed to you, {name_user(os.geteuid())}"
        if owner is None or owner == os.geteuid():
            raise Failure(f"{problem}: chmod 700 {shlex.quote(str(home.root))}")
        raise Failure(
            f"{problem}: it is {name_user(owner)}'s; `{write_sudo(owner)} prefd …`, or name a home of yours with --home"
        )
    if not home.root.is_dir():
        raise Failure(f"no home at {home.root}\nmake it with `prefd init`, or name another with --home", Exit.NOT_FOUND)
    return home


def warn_of_owner(home: Home) -> None:
    """Warns a user, such as root, who is about to write into another user's home: its owner cannot change what is made there."""
    owner, user = find_owner(home.root), os.geteuid()
    if owner is not None and owner != user:
        name = name_user(owner)
        remedy = f"what you make there, {name} cannot change; `{write_sudo(owner)} prefd …` works as {name}"
        render.print_warning(f"{home.root} is {name}'s, and you are {name_user(user)}: {remedy}")


def warn_of_unknown_zone() -> None:
    """Warns a user who has set a time zone that the system does not know: it shows, and reads, every moment as UTC."""
    if unknown := explain_unknown_zone():
        render.print_warning(unknown)


def read_jobs(home: Home) -> JobTable:
    """Opens the job table of a home read-only: it works with the daemon and without, and is empty where no job ever was."""
    from prefd.daemon.jobs.table import JobTable

    return JobTable.open_readonly(require_home(home).database)
