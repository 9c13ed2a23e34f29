"""`prefd start` and `prefd stop` begin and end the daemon."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from prefd.daemon.commands.init import make_home
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, pass_timing, require_home, warn_of_owner
from prefd.daemon.commands.shared.page_option import choose_page_address, web_option
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.control.detached_start import start_detached
from prefd.daemon.home.layout import Home
from prefd.daemon.machine import blas
from prefd.daemon.terminal import render
from prefd.daemon.timing import Timing

if TYPE_CHECKING:
    from prefd.daemon.control.client import Client

PLACE = HelpPlace(Section.DAEMON, 20)


@click.command(
    epilog="""\b
Examples:
  prefd start --detach
  prefd start --detach --web      and serve the page; `prefd web --show-url` has its address
  prefd start                     in the foreground: logs to stderr, Ctrl-C stops it"""
)
@click.option("--detach", is_flag=True, help="Return once it answers; it logs to <home>/daemon.log.")
@click.option("--log-to-file", is_flag=True, help="Log to <home>/daemon.log here too, which is rotated.")
@web_option
@json_option
@pass_timing
@click.pass_obj
def start(home: Home, timing: Timing, detach: bool, log_to_file: bool, web: str | None, as_json: bool) -> None:
    """Start the daemon.

    It watches <home>/jobs and runs what is put there, one job at a time unless config.toml says otherwise; jobs that were queued or running when it last
    stopped go on. Makes the home if it is not there.
    """
    from prefd.daemon.home import lock
    from prefd.daemon.home.page_record import join_address

    page_address = None if web is None else choose_page_address(home, web)
    if as_json and not detach:
        raise click.UsageError("--json says what was started: it needs --detach")
    if home.root.is_dir():
        warn_of_owner(require_home(home))
    else:
        make_home(home)
        render.print_note(f"made a home at {home.root}")
    if blas.is_missing():
        render.print_warning(blas.MISSING)
    if not detach:
        from prefd.daemon.machine.processes import restart_in_utf8_mode
        from prefd.daemon.service.daemon import serve

        restart_in_utf8_mode()
        try:
            if not serve(home, to_file=log_to_file, page_address=page_address):
                raise click.exceptions.Exit(Exit.NOT_FOUND)
        except lock.AlreadyRunning as error:
            if os.environ.get("XPC_SERVICE_NAME", "0") == "0":
                raise
            render.print_note(str(error))  # launchd would start it again for ever after any other exit code
        return
    if (holder := lock.find_holder(home)) is not None:
        refuse_silent(home)
        raise Failure(f"the daemon is already running here: pid {holder.pid}\nsee `prefd status`, or `prefd stop` it")
    pid = start_detached(home, timing, [] if page_address is None else ["--web", join_address(*page_address)])
    if as_json:
        render.emit_json({"pid": pid, "home": str(home.root), "log": str(home.log)})
    else:
        click.echo(pid)
    render.print_note(f"the daemon runs with pid {pid}; its log is {home.log}")


def refuse_silent(home: Home) -> None:
    """Refuses a home whose lock is held by what does not answer for it: neither a start nor a stop would help there."""
    from prefd.daemon.control.client import Client, DaemonSilent
    from prefd.daemon.control.control_error import ControlError

    try:
        Client(home).status_document()
    except DaemonSilent as error:
        raise Failure(str(error)) from None
    except ControlError:  # it is there, and busy
        return


@click.command(
    epilog="""\b
Examples:
  prefd stop
  prefd stop && prefd start --detach      restart it"""
)
@json_option
@pass_timing
@click.pass_obj
def stop(home: Home, timing: Timing, as_json: bool) -> None:
    """Stop the daemon and wait for its end.

    A running job saves its state and goes on at the next start.
    """
    from prefd.daemon.control.client import Client, DaemonChanging, DaemonNotRunning, DaemonSilent
    from prefd.daemon.home.settings import Config, ConfigError

    try:
        grace = Config.load(require_home(home)).stop_grace_seconds
    except ConfigError:  # edited since the daemon started; it still has to be stopped
        grace = Config().stop_grace_seconds
    wait = grace + timing.stop_command_margin
    client = Client(home)
    status = find_daemon(client, timing)
    if status is not None:
        if status["active"]:
            render.print_note(f"waiting for what runs to save its state, up to {grace:.0f} s")
        try:
            has_ended = client.stop(wait_seconds=wait)
        except DaemonChanging:  # it was ending by itself, and listens no more
            has_ended = client.wait_for_end(wait)
        except DaemonSilent:
            raise
        except DaemonNotRunning:
            has_ended = True
        if not has_ended:
            raise Failure(f"asked the daemon to stop, and it has not ended within {wait:.0f} s: see `prefd status`")
    if as_json:
        render.emit_json({"stopped": True, "pid": status["pid"] if status else None})
    render.print_note("the daemon has stopped")


def find_daemon(client: Client, timing: Timing) -> dict[str, Any] | None:
    """Returns the status of the daemon; None where it was just ending, and has ended.

    It is not typed: a daemon of another version has to be stopped too. Raises DaemonNotRunning where none was there.
    """
    from prefd.daemon.control.client import DaemonChanging

    deadline = time.monotonic() + timing.daemon_return
    try:
        return client.status_document()
    except DaemonChanging:
        while not client.wait_for_end(0.0):
            with suppress(DaemonChanging):
                return client.status_document()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    return None
