"""`prefd cache explain` says what a job would find in the cache, and what it would have to score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.shared.options import json_option
from prefd.daemon.commands.shared.page_asking import ask_page
from prefd.daemon.commands.shared.references import ask_worker
from prefd.daemon.commands.validate import check_spec
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.times import format_duration
from prefd.daemon.text.wording import pluralize

if TYPE_CHECKING:
    from prefd.daemon.worker_tasks.answers import LiveComparison


def describe_live(live: LiveComparison) -> list[str]:
    """Say what a live reference saves or costs, against a pass before training, in two lines."""
    beside, before = format_duration(live.beside_s), format_duration(live.before_s)
    gain = live.before_s - live.beside_s
    if abs(gain) < max(1.0, 0.02 * live.before_s):
        verdict = "which is as quick"
    else:
        verdict = f"{format_duration(abs(gain))} {'quicker' if gain > 0 else 'slower'}"
    opening = "" if live.opening_s is not None else ", to open the model not counted"
    unkept = (
        "" if live.epochs <= 1 else f"; {format_duration(live.unkept_s)} with store: false, which scores in each epoch"
    )
    name = f"reference.live: adapter_off{' (as the spec has it)' if live.chosen else ''}"
    return [
        f"{name} takes about {beside} beside training, a pass {before} before it{opening}: {verdict}",
        f"its first step comes about {before} sooner; every job after it finds all in the cache{unkept}",
    ]


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
    # the page's worker has loaded what the pairs take, the tokenizer and the plugins; else one is started that does
    needs = ask_page(home, "/v1/explain", spec, Explanation)
    if needs is None:
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
    if needs.pipeline is not None:
        rows.insert(5, ("pipeline", needs.pipeline.format()))
        if needs.pipeline.is_far:
            rows.insert(6, ("", "if each machine has as much memory as this one"))
    if needs.live is not None and needs.missing:
        rows += [("live" if index == 0 else "", line) for index, line in enumerate(describe_live(needs.live))]
    for reference in needs.near:
        name = Path(reference.model or "unknown").name
        rows.append(("near", f"{reference.fingerprint[:12]} ({name}, {reference.entries:,} completions)"))
        rows.append(("", f"is another reference by its {', '.join(reference.differs)}"))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {text}")
