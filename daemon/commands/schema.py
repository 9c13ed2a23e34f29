"""`prefd schema` prints a spec as JSON Schema, so that an editor completes and checks it."""

from __future__ import annotations

import click

from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.text.json_output import dump_indented

PLACE = HelpPlace(Section.JOBS, 40)


@click.command(
    epilog="""\b
Examples:
  prefd schema > prefd.schema.json
then, as the first line of a spec:
  # yaml-language-server: $schema=prefd.schema.json       in YAML
  #:schema prefd.schema.json                              in TOML"""
)
@click.pass_obj
def schema(home: Home) -> None:
    """Print a spec's JSON Schema, for editors.

    It has the losses of this home's plugins with their parameters: print it again when they change.
    """
    from prefd.daemon.specs.catalog_listing import load_catalog
    from prefd.daemon.specs.json_schema import build_schema

    click.echo(dump_indented(build_schema(load_catalog(home))))
