"""`prefd web` serves the page: jobs, runs and the Train form in a browser."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.init import make_home
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, pass_timing, require_home, warn_of_owner
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render
from prefd.daemon.timing import Timing

if TYPE_CHECKING:
    from prefd.daemon.home.page_record import PageRecord

PLACE = HelpPlace(Section.DAEMON, 22)


@click.command(
    epilog="""\b
Examples:
  prefd web --open
  prefd web --port 9000
  prefd web --show-url            the address, with its token, of the page that is served
  prefd start --detach --web      have the daemon serve it"""
)
@click.option("--open", "opens", is_flag=True, help="Open it in the browser.")
@click.option("--host", metavar="ADDRESS", help="Listen on this address.  [default: web.host in config.toml]")
@click.option("--port", type=click.IntRange(0, 65535), help="Listen on this port.  [default: web.port in config.toml]")
@click.option("--allowed-host", metavar="HOST[:PORT]", multiple=True, help="Answer to this name too; several times.")
@click.option("--show-url", is_flag=True, help="Print the address of the page that is served already.")
@click.option("--new-token", is_flag=True, help="Lock out what was opened with the token until now.")
@click.option("--supervised", is_flag=True, hidden=True, help="End with the daemon that has started it.")
@json_option
@pass_timing
@click.pass_obj
def web(
    home: Home,
    timing: Timing,
    opens: bool,
    host: str | None,
    port: int | None,
    allowed_host: Sequence[str],
    show_url: bool,
    new_token: bool,
    supervised: bool,
    as_json: bool,
) -> None:
    """Serve the page: jobs, runs and the Train form in a browser.

    It prints the address, with the token that opens the page. It works with the daemon and without, which it says. Only this machine reaches it, unless --host says otherwise.
    """
    from prefd.daemon.home.page_record import find_page, forget_token
    from prefd.daemon.home.settings import Config
    from prefd.daemon.page.addresses import is_loopback
    from prefd.daemon.page.browser import open_page
    from prefd.daemon.page.server import PageSettings, serve_page

    if show_url:
        print_page(home, require_page(home), as_json)
        return
    if home.root.is_dir():
        warn_of_owner(require_home(home))
    else:
        make_home(home)
        render.print_note(f"made a home at {home.root}")
    if opens and not new_token and (record := find_page(home)) is not None:
        open_page(home, record)
        render.print_note(f"the page is served already, by pid {record.pid}: opened {record.address}")
        return
    config = Config.load(home).web
    settings = PageSettings(
        config.host if host is None else host,
        config.port if port is None else port,
        [*config.allowed_hosts, *allowed_host],
    )
    if not is_loopback(settings.host):
        render.print_warning(
            f"the page listens on {settings.host}: anyone who reaches it and has the token can do as you, and plain HTTP shows the "
            "token to the network between; `ssh -L 8377:127.0.0.1:8377` from the other machine shows it to nobody"
        )
    if new_token:
        forget_token(home)

    def announce(record: PageRecord) -> None:
        if supervised:
            return
        print_page(home, record, as_json)
        render.print_note("Ctrl-C ends it; the address with its token: `prefd web --show-url`")
        if opens:
            open_page(home, record)

    serve_page(home, settings, announce, supervised, timing)


def print_page(home: Home, record: PageRecord, as_json: bool) -> None:
    """Prints the address that opens the page, also to who reads what a process prints that goes on."""
    if as_json:
        page = {"url": record.url, "address": record.address, "token": record.token}
        render.emit_json({**page, "pid": record.pid, "home": str(home.root)})
    else:
        click.echo(record.url)
    sys.stdout.flush()


def require_page(home: Home) -> PageRecord:
    """Returns where the home's page is served. Raises a failure that says how to have it served."""
    from prefd.daemon.home.page_record import find_page

    if (record := find_page(require_home(home))) is None:
        raise Failure(
            f"no page is served of {home.root}: `prefd web` serves it, and `prefd start --detach --web` does with the daemon",
            Exit.NOT_FOUND,
        )
    return record
