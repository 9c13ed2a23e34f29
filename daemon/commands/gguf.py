"""`prefd gguf` writes a trained job's model as one GGUF file, for llama.cpp, Ollama and LM Studio."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from prefd.daemon.commands.shared.completions import JOB
from prefd.daemon.commands.shared.options import json_option, read_jobs
from prefd.daemon.commands.shared.references import ask_worker
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.commands.shared.selection import require_ended
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render
from prefd.daemon.text.sizes import format_size

PLACE = HelpPlace(Section.JOBS, 130)
TYPES = ("f16", "bf16", "f32", "q8_0", "auto")


@click.command(
    epilog="""\b
Examples:
  prefd gguf 3
  prefd gguf 3 --converter ~/llama.cpp --type q8_0
  prefd gguf 3 --out my-model.gguf && llama-cli -m my-model.gguf"""
)
@click.argument("job_id", metavar="ID", type=JOB)
@click.option(
    "--out", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Default: gguf/ in the job's folder."
)
@click.option(
    "--converter", metavar="PATH", type=click.Path(), help="llama.cpp's convert_hf_to_gguf.py, or the folder it is in."
)
@click.option(
    "--type", "kind", type=click.Choice(TYPES), default="f16", show_default=True, help="Of the weights in the file."
)
@json_option
@click.pass_obj
def gguf(home: Home, job_id: int, out: Path | None, converter: str | None, kind: str, as_json: bool) -> None:
    """Write a trained job's model as a GGUF file.

    The adapter is merged into its model first, where the job has no fused one. llama.cpp's own converter does the rest where it is installed, and mlx-lm's where it is not; what mlx-lm's would get wrong is refused.
    """
    from prefd.daemon.worker_tasks.exports import GGUFInput, WrittenGGUF

    with read_jobs(home) as jobs:
        job = jobs.get(job_id)
    require_ended(job)
    if out is None:
        out = RunDir(home.job(job_id)).gguf / f"{_name_file(job.name)}-{kind}.gguf"
        if home.job(job_id).is_dir():
            out.parent.mkdir(exist_ok=True)
    script = None if converter is None else str(Path(converter).expanduser().absolute())
    request = GGUFInput(job=job_id, out=str(out.absolute()), converter=script, type=kind)  # type: ignore[arg-type]
    try:
        written = ask_worker(home, "gguf", request, WrittenGGUF)
    finally:
        with suppress(OSError):  # it has the file in it, or files of before, or is not the job's
            RunDir(home.job(job_id)).gguf.rmdir()
    if as_json:
        render.emit_json({"job": job_id, **written.to_json()})
        return
    click.echo(written.path)
    render.print_note(f"{format_size(written.bytes)}, by {written.by}; `prefd modelfile {job_id}` makes it Ollama's")


def _name_file(name: str) -> str:
    """Makes a file's name of a job's."""
    return "".join(each if each.isalnum() or each in "-_." else "-" for each in name).strip(".-") or "model"
