"""`prefd service` has the daemon started at login and again after a crash, by launchd or systemd."""

from __future__ import annotations

import os
import shlex

import click

from prefd.daemon.commands.init import make_home
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, require_home
from prefd.daemon.commands.shared.page_option import choose_page_address, web_option
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render

PLACE = HelpPlace(Section.DAEMON, 25)


@click.group(
    epilog="""\b
Examples:
  prefd service install
  prefd service status
  prefd service uninstall"""
)
def service() -> None:
    """Have the daemon started at login, and again after a crash.

    By launchd on macOS, by systemd on Linux.
    """


@service.command(
    epilog="""\b
Examples:
  prefd service install
  prefd service install --web                     the page too, at each login
  HF_HOME=/Volumes/T7/hf prefd service install    what is set now, the service gets too"""
)
@web_option
@json_option
@click.pass_obj
def install(home: Home, web: str | None, as_json: bool) -> None:
    """Write the service's file, and start the daemon.

    The file has this prefd's path, this home, and the PATH and Hugging Face folders of this shell. A service that is there already is replaced: do it again after an upgrade that moves prefd, or when one of these changes.
    """
    from prefd.daemon.home import lock
    from prefd.daemon.home.page_record import join_address
    from prefd.daemon.home.settings import Config
    from prefd.daemon.managers.choice import find_manager
    from prefd.daemon.managers.definition import ServiceDefinition, describe_left_out

    manager = find_manager()
    if not home.root.is_dir():
        make_home(home)
        render.print_note(f"made a home at {home.root}")
    if (holder := lock.find_holder(home)) is not None and manager.describe() is None:
        raise Failure(f"a daemon that was started by hand serves {home.root} (pid {holder.pid}): `prefd stop` it first")
    config = Config.load(home)
    options = () if web is None else ("--web", join_address(*choose_page_address(home, web)))
    definition = ServiceDefinition.make(home, config.stop_grace_seconds, options=options)
    manager.install(definition)
    if (left_out := describe_left_out(os.environ)) is not None:
        render.print_warning(left_out)
    if as_json:
        render.emit_json({"manager": manager.name, "file": str(manager.file), "home": str(home.root)})
    else:
        click.echo(manager.file)
    render.print_note(f"{manager.name} starts the daemon now and at each login; `prefd service status` shows it")
    if options or config.web.enabled:
        render.print_note("it serves the page too: `prefd web --show-url` prints the address with its token")
    if manager.name == "systemd":
        render.print_note("`loginctl enable-linger` keeps it running after you have logged out")


@service.command(
    epilog="""\b
Examples:
  prefd service uninstall"""
)
@json_option
def uninstall(as_json: bool) -> None:
    """Stop the service, and remove its file.

    The home stays as it is, and `prefd start` starts a daemon on it as before.
    """
    from prefd.daemon.managers.choice import find_manager

    manager = find_manager()
    removed = manager.uninstall()
    if as_json:
        render.emit_json({"manager": manager.name, "file": str(manager.file), "removed": removed})
    render.print_note(f"removed {manager.file}" if removed else f"there is no service: no {manager.file}")


@service.command(
    epilog="""\b
Examples:
  prefd service status
  prefd service status --json | jq -r .file"""
)
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show what the service manager itself says of the daemon.

    Exit code 3 where there is no service.
    """
    from prefd.daemon.managers.choice import find_manager

    home = require_home(ctx.obj)
    manager = find_manager()
    installed = manager.file.exists()
    description = manager.describe()
    if as_json:
        document = {"manager": manager.name, "file": str(manager.file), "installed": installed}
        render.emit_json(
            {**document, "home": str(home.root), "loaded": description is not None, "description": description}
        )
    elif installed:
        click.echo(description.rstrip() if description else f"{manager.name} has not loaded {manager.file}")
        if description is None:
            render.print_note("`prefd service install` loads it")
    else:
        render.print_note(
            f"there is no service: no {shlex.quote(str(manager.file))}; `prefd service install` makes one"
        )
    if not installed:
        ctx.exit(Exit.NOT_FOUND)
