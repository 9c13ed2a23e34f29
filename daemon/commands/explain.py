"""`prefd cache explain`: what a job would find in the cache, and what it would have to score."""

from __future__ import annotations

from pathlib import Path

import click

from prefd.daemon import render
from prefd.daemon.commands.common import json_option
from prefd.daemon.commands.specs import check_spec
from prefd.daemon.commands.stores import ask_worker
from prefd.daemon.home import Home
from prefd.daemon.moments import format_duration
from prefd.daemon.sizes import format_size
from prefd.daemon.text import pluralize


@click.command(
    epilog="""\b
Examples:
  prefd cache explain ipo.yaml
  prefd cache explain ipo.yaml --json | jq .missing"""
)
@click.argument("spec_path", metavar="SPEC", type=click.Path(path_type=Path))
@json_option
@click.pass_obj
def explain(home: Home, spec_path: Path, as_json: bool) -> None:
    """Say what a job would score, before any of it is done.

    Which reference it needs, how many completions are cached and missing, what scoring them takes, and which references in the cache differ from it in a field or two.
    """
    spec = check_spec(home, spec_path)
    found = ask_worker(home, "explain", spec.model_dump())  # the pairs take the tokenizer and the plugins
    if as_json:
        render.emit_json(found)
        return
    seconds = format_duration(found["estimated_seconds"])
    rows = [
        ("reference", f"{found['reference']}  {found['fingerprint'][:12]}" + ("" if found["known"] else "  (new)")),
        ("completions", f"{found['completions']:,} needed, {pluralize(found['duplicates'], 'duplicate')} avoided"),
        ("cached", f"{found['cached']:,}"),
        ("missing", f"{found['missing']:,}: {found['tokens_scored']:,} tokens, {found['tokens_run']:,} with prompts"),
        ("time", f"about {seconds}, by {found['estimate_from']}" if found["missing"] else "none"),
        ("size", format_size(found["bytes"])),
    ]
    for each in found["near"]:
        name = Path(each["model"] or "unknown").name
        rows.append(("near", f"{each['fingerprint'][:12]} ({name}, {each['entries']:,} completions)"))
        rows.append(("", f"is another reference by its {', '.join(each['differs'])}"))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {text}")
