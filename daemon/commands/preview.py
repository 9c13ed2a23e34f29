"""`prefd preview`: the pairs of a job as the model will see them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option
from prefd.daemon.commands.shared.references import ask_worker
from prefd.daemon.commands.validate import check_specs
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render

if TYPE_CHECKING:
    from prefd.daemon.specs.job_spec import JobSpec
    from prefd.daemon.specs.reading import SpecFile
    from prefd.daemon.worker_tasks.previews import Preview


@click.command(
    epilog="""\b
Examples:
  prefd preview ipo.yaml
  prefd preview ipo.yaml --worst
  prefd preview ipo.yaml --row 17 --tokens
  prefd preview ipo.yaml --json | jq -r '.pairs[].chosen.text'"""
)
@click.argument("spec_path", metavar="SPEC", type=click.Path(path_type=Path))
@click.option("--rows", type=click.IntRange(min=0), default=3, show_default=True, help="How many pairs to show.")
@click.option("--row", "named", metavar="ROW", multiple=True, help="Show the pair of this row; may be repeated.")
@click.option("--worst", is_flag=True, help="Show the most doubtful pairs first: cut, set apart, alike, long.")
@click.option("--tokens", is_flag=True, help="Show each token on a line of its own, with its id.")
@click.option("--full", is_flag=True, help="Leave nothing out of long texts.")
@click.option("--job", "number", type=click.IntRange(min=1), help="Of a sweep, the job to look at.  [default: 1]")
@json_option
@click.pass_obj
def preview(
    home: Home,
    spec_path: Path,
    rows: int,
    named: tuple[str, ...],
    worst: bool,
    tokens: bool,
    full: bool,
    number: int | None,
    as_json: bool,
) -> None:
    """Show pairs as the model will see them, before any training.

    Prompt, chosen and rejected are decoded from the very tokens that are trained on, special tokens included, with what
    counts in the loss and what does not; above them, what became of all the rows. The tokenizer is loaded, no weights are.
    """
    from prefd.daemon.worker_tasks.inputs import PreviewInput
    from prefd.daemon.worker_tasks.previews import Preview

    rows_given = click.get_current_context().get_parameter_source("rows") is not ParameterSource.DEFAULT
    if named and rows_given:
        raise click.UsageError("--row names the pairs and --rows says how many: give one of the two")
    if named and worst:
        raise click.UsageError("--row names the pairs and --worst finds them: give one of the two")
    [(_, file)] = check_specs(home, [spec_path])
    spec = pick_job(file, number)
    try:
        request = PreviewInput(spec=spec, count=rows, named=named, worst=worst)
        shown = ask_worker(home, "preview", request, Preview)
    except Failure as failure:
        if as_json:
            render.emit_json({"file": str(spec_path), "job": spec.name, "error": failure.message})
        raise
    if as_json:
        render.emit_json({"file": str(spec_path), "job": spec.name, **shown.to_document(tokens)})
    else:
        draw(shown, full, tokens)
    if shown.missing:
        raise Failure("\n".join(shown.missing.values()), Exit.NOT_FOUND)


def draw(preview: Preview, full: bool, tokens: bool) -> None:
    from prefd.daemon.terminal.preview import overview, pair_lines

    console = render.stdout()
    console.print(render.facts(overview(preview)))
    for pair in preview.pairs:
        console.print()
        for line in pair_lines(pair, console, full, tokens):
            console.print(line, soft_wrap=True)


def pick_job(file: SpecFile, number: int | None) -> JobSpec:
    """The one job of a file; of a sweep, the one with this number, which is said with what it shares with the others."""
    from prefd.daemon.worker_tasks.previews import compute_tokens_key

    count = len(file.specs)
    if number is not None and number > count:
        raise Failure(f"{file.file}: there is no job {number}; it has {count}", Exit.USAGE)
    spec = file.specs[(number or 1) - 1]
    if file.sweep is not None:
        alike = sum(compute_tokens_key(each) == compute_tokens_key(spec) for each in file.specs)
        others = f"{'all' if alike == count else f'{alike} of them'} have these tokens"
        others += "" if alike == count else ", and --job shows another"
        render.note(f"{file.file}: a sweep of {count} jobs, of which this is {spec.name}; {others}")
    return spec
