"""`prefd init`: make a home."""

from __future__ import annotations

import click

from prefd.daemon.commands.shared.options import json_option
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render


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

    It has the watched folder, and a config.toml with every setting explained. What is there already stays as it is.
    """
    there = home.root.is_dir()
    wrote = make_home(home)
    if as_json:
        render.emit_json(
            {"home": str(home.root), "jobs": str(home.jobs), "config": str(home.config), "made": not there}
        )
    else:
        click.echo(home.root)
    render.note("the home was there already" if there else f"made a home; specs go into {home.jobs}")
    if wrote:
        render.note(f"wrote the settings, all at their defaults: {home.config}")
    render.note("next: `prefd doctor` looks whether all is well, `prefd start --detach` starts the daemon")


def make_home(home: Home) -> bool:
    """Every folder, and config.toml where there is none; whether that was written."""
    from prefd.daemon.home.settings import Config

    home.create()
    try:
        with home.config.open("x", encoding="utf-8") as file:
            file.write(Config.template())
    except FileExistsError:
        return False
    return True
