"""`prefd cache explain`: what a job would find in the cache, and what it would have to score."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import click

from prefd.daemon import render
from prefd.daemon.commands.common import json_option
from prefd.daemon.commands.errors import Failure
from prefd.daemon.commands.specs import check_specs
from prefd.daemon.home import Home


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
    [(_, spec)] = check_specs(home, [spec_path])
    found = ask(home, spec.model_dump_json())
    if as_json:
        render.emit_json(found)
        return
    seconds = render.duration(found["estimated_seconds"])
    rows = [
        ("reference", f"{found['reference']}  {found['fingerprint'][:12]}" + ("" if found["known"] else "  (new)")),
        ("completions", f"{found['completions']:,} needed, {render.plural(found['duplicates'], 'duplicate')} avoided"),
        ("cached", f"{found['cached']:,}"),
        ("missing", f"{found['missing']:,}: {found['tokens_scored']:,} tokens, {found['tokens_run']:,} with prompts"),
        ("time", f"about {seconds}, by {found['estimate_from']}" if found["missing"] else "none"),
        ("size", render.size(found["bytes"])),
    ]
    for each in found["near"]:
        name = Path(each["model"] or "unknown").name
        rows.append(("near", f"{each['fingerprint'][:12]} ({name}, {each['entries']:,} completions)"))
        rows.append(("", f"is another reference by its {', '.join(each['differs'])}"))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {text}")


def ask(home: Home, spec: str) -> dict[str, Any]:
    """Asked of a worker, because reading the pairs takes the tokenizer and the plugins."""
    from prefd.daemon.process import WORKER

    command = [*WORKER, "explain", "--home", str(home.root)]
    child = subprocess.run(command, input=spec, capture_output=True, text=True, check=False)
    if child.returncode != 0:
        said = [line for line in child.stderr.splitlines() if line.strip()]
        raise Failure(said[-1] if said else f"the worker ended with exit code {child.returncode}")
    answer: dict[str, Any] = json.loads(child.stdout)
    return answer
