"""`prefd modelfile` writes what Ollama needs to run a trained job's model."""

from __future__ import annotations

import shlex
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

PLACE = HelpPlace(Section.JOBS, 131)


@click.command(
    epilog="""\b
Examples:
  prefd modelfile 3
  ollama create my-model -f "$(prefd modelfile 3)"
  prefd modelfile 3 --gguf my-model.gguf --out Modelfile"""
)
@click.argument("job_id", metavar="ID", type=JOB)
@click.option(
    "--gguf",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Begin with this file; default: the job's own, its fused model, or base and PEFT adapter.",
)
@click.option(
    "--out", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Default: in the job's folder."
)
@json_option
@click.pass_obj
def modelfile(home: Home, job_id: int, gguf: Path | None, out: Path | None, as_json: bool) -> None:
    """Write Ollama's Modelfile for a trained job.

    It says what the model begins with, how chats are written, and where an answer ends. The chat template is said in Ollama's own form, and tried against the model's own before that is believed.
    """
    from prefd.daemon.worker_tasks.exports import ModelfileInput, WrittenModelfile

    with read_jobs(home) as jobs:
        require_ended(jobs.get(job_id))
    path = (RunDir(home.job(job_id)).modelfile if out is None else out).absolute()
    begin = None if gguf is None else str(gguf.absolute())
    written = ask_worker(home, "modelfile", ModelfileInput(job=job_id, out=str(path), gguf=begin), WrittenModelfile)
    if as_json:
        render.emit_json({"job": job_id, **written.to_json()})
        return
    click.echo(written.path)
    render.print_note(f"{written.begins_with}; next: ollama create NAME -f {shlex.quote(written.path)}")
    for note in written.notes:
        render.print_warning(note)
