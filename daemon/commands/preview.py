"""`prefd preview` shows the pairs of a job as the model will see them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option
from prefd.daemon.commands.shared.page_asking import ask_page
from prefd.daemon.commands.shared.references import ask_worker
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.commands.validate import check_specs
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render

if TYPE_CHECKING:
    from prefd.daemon.specs.job_spec import JobSpec
    from prefd.daemon.specs.reading import SpecFile
    from prefd.daemon.worker_tasks.previews import Preview


PLACE = HelpPlace(Section.JOBS, 30)


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
@click.option("--row", "row_names", metavar="ROW", multiple=True, help="Show the pair of this row; may be repeated.")
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
    row_names: tuple[str, ...],
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

    are_rows_counted = click.get_current_context().get_parameter_source("rows") is not ParameterSource.DEFAULT
    if row_names and are_rows_counted:
        raise click.UsageError("--row names the pairs and --rows says how many: give one of the two")
    if row_names and worst:
        raise click.UsageError("--row names the pairs and --worst finds them: give one of the two")
    [(_, file)] = check_specs(home, [spec_path])
    spec = pick_job(file, number)
    try:
        request = PreviewInput(spec=spec, count=rows, named=row_names, worst=worst)
        query = {"count": rows, "row": row_names, "worst": worst}
        answer = ask_page(home, "/v1/preview/pairs", spec, Preview, query) or ask_worker(
            home, "preview", request, Preview
        )
    except Failure as failure:
        if as_json:
            render.emit_json({"file": str(spec_path), "job": spec.name, "error": failure.message})
        raise
    if as_json:
        render.emit_json({"file": str(spec_path), "job": spec.name, **answer.to_document(tokens)})
    else:
        show_preview(answer, full, tokens)
    if answer.missing:
        raise Failure("\n".join(answer.missing.values()), Exit.NOT_FOUND)


def show_preview(preview: Preview, full: bool, tokens: bool) -> None:
    """Prints what is to be known of all pairs, and each pair."""
    from prefd.daemon.terminal.preview import overview_facts, pair_lines

    console = render.open_stdout()
    console.print(render.make_facts(overview_facts(preview)))
    for pair in preview.pairs:
        console.print()
        for line in pair_lines(pair, console, full, tokens):
            console.print(line, soft_wrap=True)


def pick_job(file: SpecFile, number: int | None) -> JobSpec:
    """Returns the one job of a file, or a sweep's job of this number, and prints what that shares with the others."""
    from prefd.daemon.worker_tasks.previews import compute_tokens_key

    count = len(file.specs)
    if number is not None and number > count:
        raise Failure(f"{file.file}: there is no job {number}; it has {count}", Exit.USAGE)
    spec = file.specs[(number or 1) - 1]
    if file.sweep is not None:
        same_count = sum(compute_tokens_key(each) == compute_tokens_key(spec) for each in file.specs)
        remark = f"{'all' if same_count == count else f'{same_count} of them'} have these tokens"
        remark += "" if same_count == count else ", and --job shows another"
        render.print_note(f"{file.file}: a sweep of {count} jobs, of which this is {spec.name}; {remark}")
    return spec
