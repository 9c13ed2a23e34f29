"""`prefd cache explain` says what a job would find in the cache, and what it would have to score."""

from __future__ import annotations

from pathlib import Path

import click

from prefd.daemon.commands.shared.options import json_option
from prefd.daemon.commands.shared.references import ask_worker
from prefd.daemon.commands.validate import check_spec
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.times import format_duration
from prefd.daemon.text.wording import pluralize


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
    from prefd.daemon.worker_tasks.answers import Explanation
    from prefd.daemon.worker_tasks.inputs import ExplainInput

    spec = check_spec(home, spec_path)
    # a worker is asked, for the pairs take the tokenizer and the plugins
    needs = ask_worker(home, "explain", ExplainInput(spec=spec), Explanation)
    if as_json:
        render.emit_json(needs.to_json())
        return
    seconds = format_duration(needs.estimated_seconds)
    rows = [
        ("reference", f"{needs.reference}  {needs.fingerprint[:12]}" + ("" if needs.known else "  (new)")),
        ("completions", f"{needs.completions:,} needed, {pluralize(needs.duplicates, 'duplicate')} avoided"),
        ("cached", f"{needs.cached:,}"),
        ("missing", f"{needs.missing:,}: {needs.tokens_scored:,} tokens, {needs.tokens_run:,} with prompts"),
        ("time", f"about {seconds}, by {needs.estimate_from}" if needs.missing else "none"),
        ("size", format_size(needs.bytes)),
    ]
    if needs.windows is not None:
        rows.insert(5, ("windows", needs.windows.format()))
    for reference in needs.near:
        name = Path(reference.model or "unknown").name
        rows.append(("near", f"{reference.fingerprint[:12]} ({name}, {reference.entries:,} completions)"))
        rows.append(("", f"is another reference by its {', '.join(reference.differs)}"))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {text}")
