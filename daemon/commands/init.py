"""`prefd init` makes a home."""

from __future__ import annotations

import os
from contextlib import suppress

import click

from prefd.daemon.commands.shared.options import json_option
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.finder_link import find_link, is_hidden, link_for_finder
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render

PLACE = HelpPlace(Section.DAEMON, 10)


@click.command(
    epilog="""\b
Examples:
  prefd init
  prefd --home ~/tuning init
  PREFD_HOME=~/tuning prefd init"""
)
@json_option
@click.pass_obj
def init(home: Home, as_json: bool) -> None:
    """Make a home for jobs, runs and cache.

    It has the watched folder, and a config.toml with every setting explained. What is there already stays as it is. On a Mac, where Finder hides ~/Library, ~/prefd becomes a link to it.
    """
    existed = home.root.is_dir()
    is_config_new = make_home(home)
    link = find_link(home)
    with suppress(PermissionError):  # another user's: `prefd doctor` says so
        if (mode := home.close_to_others()) is not None:
            render.print_note(
                f"closed the home to other users, who could look into it or write there (it was mode {mode:04o})"
            )
    if as_json:
        render.emit_json(
            {
                "home": str(home.root),
                "jobs": str(home.jobs),
                "config": str(home.config),
                "made": not existed,
                "link": None if link is None else str(link),
            }
        )
    else:
        click.echo(home.root)
    render.print_note("the home was there already" if existed else f"made a home; specs go into {home.jobs}")
    if link is not None:
        render.print_note(f"Finder shows it as {link}, a link that may be removed: specs go into {link / 'jobs'}")
    elif is_hidden(home):
        render.print_note("Finder hides it, and ~/prefd is something else already: `prefd open` shows it")
    if is_config_new:
        render.print_note(f"wrote the settings, all at their defaults: {home.config}")
    render.print_note("next: `prefd doctor` looks whether all is well, `prefd start --detach` starts the daemon")


def make_home(home: Home) -> bool:
    """Makes every folder, and config.toml where there is none; returns whether that was written."""
    from prefd.daemon.home.serve_key import BadServeKey, keep_key
    from prefd.daemon.home.settings import Config

    home.create()
    with suppress(BadServeKey):  # `prefd serve` says what is wrong with it
        keep_key(home)
    link_for_finder(home)
    try:
        with home.config.open("x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)  # it lists plugins, which are run
            file.write(Config.template())
    except FileExistsError:
        return False
    return True
