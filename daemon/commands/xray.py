"""`prefd xray` shows what is wrong with a job's pairs before they are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.preview import pick_job
from prefd.daemon.commands.shared.errors import Failure
from prefd.daemon.commands.shared.options import json_option
from prefd.daemon.commands.shared.page_asking import ask_page
from prefd.daemon.commands.shared.references import ask_worker
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.commands.validate import check_specs
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render

if TYPE_CHECKING:
    from prefd.daemon.worker_tasks.xrays import XRay

PLACE = HelpPlace(Section.JOBS, 35)
KINDS = ("suspects", "against-reference", "contradictions", "duplicates", "alike", "cut")


@click.command(
    epilog="""\b
Examples:
  prefd run ipo.yaml --precompute-only && prefd xray ipo.yaml
  prefd xray ipo.yaml --only suspects --limit 50 --full
  prefd xray ipo.yaml --plot pairs.png
  prefd xray ipo.yaml --only duplicates --limit 0 --export exclude.txt"""
)
@click.argument("spec_path", metavar="SPEC", type=click.Path(path_type=Path))
@click.option("--only", type=click.Choice(KINDS), multiple=True, help="Only pairs of this kind; may be repeated.")
@click.option("--limit", type=click.IntRange(min=0), default=10, show_default=True, help="So many of each; 0: all.")
@click.option("--full", is_flag=True, help="Leave nothing out of long texts.")
@click.option("--plot", "png", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Draw a PNG.")
@click.option(
    "--export",
    "list_path",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the listed pairs as a list that data.exclude takes.",
)
@click.option("--job", "number", type=click.IntRange(min=1), help="Of a sweep, the job to look at.  [default: 1]")
@json_option
@click.pass_obj
def xray(
    home: Home,
    spec_path: Path,
    only: tuple[str, ...],
    limit: int,
    full: bool,
    png: Path | None,
    list_path: Path | None,
    number: int | None,
    as_json: bool,
) -> None:
    """Show which pairs to doubt, before any training.

    From the rows and what the cache has of the reference's scores: labels unlike the rest, pairs against the reference, contradictions, repeats, answers alike or cut, and how far the longer answer wins. Nothing is scored or trained: it takes seconds.
    """
    from prefd.daemon.worker_tasks.xrays import XRay, XRayInput

    [(_, file)] = check_specs(home, [spec_path])
    spec = pick_job(file, number)
    # the page lists some of each kind; all of them are listed by a worker
    answer = ask_page(home, "/v1/xray", spec, XRay, {"only": only, "limit": limit}) if limit else None
    if answer is None:
        answer = ask_worker(home, "xray", XRayInput(spec=spec, only=only, limit=limit or None), XRay)  # type: ignore[arg-type]
    if png is not None:
        draw(answer, spec.name, png)
    if list_path is not None:
        export(answer, list_path)
    if as_json:
        render.emit_json({"file": str(spec_path), "job": spec.name, **answer.to_json()})
        return
    show(answer, full)
    if png is not None:
        render.print_note(f"drew {png}")


def show(answer: XRay, full: bool) -> None:
    """Prints the numbers of all pairs, and each kind with its pairs."""
    from prefd.daemon.terminal.xray import finding_lines, overview_facts

    console = render.open_stdout()
    console.print(render.make_facts(overview_facts(answer)))
    for note in answer.notes:
        render.print_note(note)
    for finding in answer.findings:
        console.print()
        for line in finding_lines(finding, full):
            console.print(line, soft_wrap=True)


def draw(answer: XRay, title: str, png: Path) -> None:
    """Draws what was found to the PNG at `png`."""
    from prefd.daemon.terminal.xray_figure import plot_xray  # matplotlib takes most of a second

    try:
        plot_xray(answer, f"{title} · {answer.pairs:,} pairs", png)
    except OSError as error:
        raise Failure(f"--plot {png}: {error.strerror or error}") from error


def export(answer: XRay, path: Path) -> None:
    """Writes the listed pairs, each once, to `path`: by their digests, but for repeats, whose digest is the first one's too."""
    remarks: dict[str, str] = {}
    for finding in answer.findings:
        for pair in finding.pairs:
            name = pair.place if finding.kind == "duplicates" else pair.digest
            remarks.setdefault(name, f"{pair.place}  {finding.kind}: {pair.why}")
    lines = "".join(f"{name}  # {remark}\n" for name, remark in remarks.items())
    try:
        path.write_text(lines, encoding="utf-8")
    except OSError as error:
        raise Failure(f"--export {path}: {error.strerror or error}") from error
    render.print_note(f"wrote {len(remarks):,} pairs to {path}: data: {{exclude: {path}}} leaves them out")
