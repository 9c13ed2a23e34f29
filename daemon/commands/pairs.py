"""`prefd pairs` shows which pairs a trained policy still gets wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.shared.completions import JOB
from prefd.daemon.commands.shared.options import json_option, pass_timing, read_jobs
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render
from prefd.daemon.terminal.short_text import shorten
from prefd.daemon.text.wording import format_number
from prefd.daemon.timing import Timing

if TYPE_CHECKING:
    from rich.text import Text

    from prefd.daemon.jobs.table import Job
    from prefd.daemon.runs.pair_answers import PairsMeans, PairsPage, ScoredPair

PLACE = HelpPlace(Section.JOBS, 125)


@click.command(
    epilog="""\b
Examples:
  prefd pairs 3
  prefd pairs 3 --only wrong --only held-out --full
  prefd pairs 3 --order best --limit 5
  prefd pairs 3 --only wrong --limit 0 --json | jq '.pairs[].place'"""
)
@click.argument("job_id", metavar="ID", type=JOB)
@click.option(
    "--only",
    type=click.Choice(["wrong", "held-out", "train"]),
    multiple=True,
    help="Only pairs that are wrong, held out, or trained on; two of them are both asked for.",
)
@click.option(
    "--order",
    type=click.Choice(["margin", "best", "loss", "row"]),
    default="margin",
    show_default=True,
    help="The smallest margin first, the largest, the largest loss, or as in the data.",
)
@click.option("--limit", type=click.IntRange(min=0), default=10, show_default=True, help="So many; 0: all of them.")
@click.option("--full", is_flag=True, help="Leave nothing out of long texts.")
@click.option("--again", is_flag=True, help="Score them anew, although they are scored.")
@json_option
@pass_timing
@click.pass_obj
def pairs(
    home: Home,
    timing: Timing,
    job_id: int,
    only: tuple[str, ...],
    order: str,
    limit: int,
    full: bool,
    again: bool,
    as_json: bool,
) -> None:
    """Show which pairs a policy gets wrong, the worst first.

    The first time they are scored: one pass of the policy over the job's pairs, the reference read from the cache. The daemon does that in its turn, before the next job; where none runs, it is done here. A pair is wrong whose chosen answer has no higher reward than the rejected one: mostly a label to look at.
    """
    from prefd.daemon.commands.shared.pair_scoring import have_pairs_scored
    from prefd.daemon.runs.pair_files import PairFiles
    from prefd.daemon.runs.pair_table import read_page

    with read_jobs(home) as jobs:
        job = jobs.get(job_id)
    files = PairFiles(RunDir(home.job(job_id), job.ulid))
    if again or files.read_head() is None:
        have_pairs_scored(home, job, files, timing)
    parts = [part.replace("-", "_") for part in only]
    page = read_page(files, files.read_state(job_id), order, parts, limit=limit or None)  # type: ignore[arg-type]
    if as_json:
        render.emit_json({"name": job.name, **page.to_json()})
        return
    show_page(job, page, full)


def show_page(job: Job, page: PairsPage, full: bool) -> None:
    """Prints what was scored, and each pair with its texts."""
    console = render.open_stdout()
    assert page.head is not None
    head = page.head
    against = "by the policy alone" if head.compares_with is None else f"against {head.compares_with}"
    facts: list[tuple[str, str | Text]] = [("job", f"{job.id} ({job.name}), step {head.scored_at_step}, {against}")]
    facts += [
        (name, describe_means(means))
        for name, means in (("held out", head.held_out), ("trained on", head.train))
        if means
    ]
    console.print(render.make_facts(facts))
    for note in head.notes:
        render.print_note(note)
    for pair in page.pairs:
        console.print()
        for line in describe_pair(pair, full):
            console.print(line, soft_wrap=True)
    if len(page.pairs) < page.total:
        render.print_note(f"{len(page.pairs):,} of {page.total:,}; --limit 0 shows all of them")


def describe_means(means: PairsMeans) -> str:
    """Describes one part of the pairs in a line."""
    numbers = f"accuracy {means.accuracy:.3f}, margin {format_number(means.margin)}, loss {format_number(means.loss)}"
    return f"{means.wrong:,} of {means.pairs:,} the wrong way round; {numbers}"


def describe_pair(pair: ScoredPair, full: bool) -> Iterator[Text]:
    """Yields the lines of a pair: its numbers, and its three texts."""
    from rich.text import Text

    from prefd.daemon.terminal.preview import make_visible

    is_wrong = pair.margin is None or pair.margin <= 0
    head = Text(format_number(pair.margin).rjust(9), style="bold red" if is_wrong else "bold")
    rewards = f"rewards {format_number(pair.chosen)} and {format_number(pair.rejected)}"
    tokens = f"{pair.tokens['chosen']} and {pair.tokens['rejected']} tokens"
    use = "held out" if pair.held_out else "trained on"
    head.append(f"  {pair.place}, {use}: {rewards}, loss {format_number(pair.loss)}, {tokens}", style="default")
    yield head
    for name, text in (("prompt", pair.prompt), ("chosen", pair.chosen_text), ("rejected", pair.rejected_text)):
        yield Text.assemble((f"  {name:<9}", "dim"), make_visible(text) if full else shorten(text, name == "prompt"))
