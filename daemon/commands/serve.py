"""`prefd serve` has Tinker clients train on this machine."""

from __future__ import annotations

import sys

import click

from prefd.daemon.commands.init import make_home
from prefd.daemon.commands.shared.options import json_option, pass_timing, require_home, warn_of_owner
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render
from prefd.daemon.timing import Timing

PLACE = HelpPlace(Section.DAEMON, 24)


@click.command(
    epilog="""\b
Examples:
  prefd serve
  prefd serve --port 9000
  prefd serve --show-key
  export TINKER_API_KEY=$(prefd serve --show-key)"""
)
@click.option(
    "--host",
    type=click.Choice(["127.0.0.1", "::1"]),
    help="Listen on this address.  [default: serve.host in config.toml]",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Listen on this port.  [default: serve.port in config.toml]"
)
@click.option("--show-key", is_flag=True, help="Print the key that clients need, which is made where there is none.")
@click.option("--supervised", is_flag=True, hidden=True, help="End with the daemon that has started it.")
@json_option
@pass_timing
@click.pass_obj
def serve(
    home: Home, timing: Timing, host: str | None, port: int | None, show_key: bool, supervised: bool, as_json: bool
) -> None:
    """Serve Tinker clients, which train and sample here.

    It prints the address, which is their base URL. Only this machine reaches it, and only with the key. What clients may train is named under [serve] in config.toml. Each model is a job of the daemon, which must run.
    """
    from prefd.daemon.home.lock import is_held
    from prefd.daemon.home.serve_key import keep_key
    from prefd.daemon.home.serve_record import ServeRecord
    from prefd.daemon.home.settings import Config
    from prefd.daemon.live.server import serve_clients

    if home.root.is_dir():
        warn_of_owner(require_home(home))
    else:
        make_home(home)
        render.print_note(f"made a home at {home.root}")
    if show_key:
        key = keep_key(home)
        if as_json:
            render.emit_json({"key": key})
        else:
            click.echo(key)
        return
    config = Config.load(home).serve
    changes = {"host": host, "port": port}
    config = config.model_copy(update={name: value for name, value in changes.items() if value is not None})
    if not config.models:
        render.print_warning(
            'clients may train nothing yet: name models under [serve] in config.toml, models = {"local/smol" = "/folder"}'
        )
    if not supervised and not is_held(home):
        render.print_warning("no daemon runs, so clients wait for their models: `prefd start --detach`")

    def announce(record: ServeRecord) -> None:
        if supervised:
            return
        if as_json:
            render.emit_json({"address": record.address, "pid": record.pid, "home": str(home.root)})
        else:
            click.echo(record.address)
        sys.stdout.flush()
        render.print_note("Ctrl-C ends it; the key: `prefd serve --show-key`")

    serve_clients(home, config, announce, supervised, timing)
