"""`prefd archive` copies what is worth keeping of a job into one folder."""

from __future__ import annotations

import io
import re
from pathlib import Path

import click

from prefd.daemon.commands.shared.completions import ENDED_JOB
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, read_jobs
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.home.own_folders import explain_own_folder
from prefd.daemon.jobs.lost_folder import find_lost_folder
from prefd.daemon.machine.files import expand_user
from prefd.daemon.machine.folder_sizes import measure_folder
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render
from prefd.daemon.text.sizes import format_size

PLACE = HelpPlace(Section.JOBS, 104)
REPORT_WIDTH = 120


@click.command(
    epilog="""\b
Examples:
  prefd archive 3                      into <home>/archive/3-<name>
  prefd archive 3 --to ~/adapters
  prefd archive 3 --fused && prefd rm 3"""
)
@click.argument("job_id", metavar="ID", type=ENDED_JOB)
@click.option(
    "--to",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to put it; default <home>/archive.",
)
@click.option("--fused", is_flag=True, help="With the fused model and GGUF files too.")
@json_option
@click.pass_obj
def archive(home: Home, job_id: int, to: Path | None, fused: bool, as_json: bool) -> None:
    """Copy a job into one folder that can be read by itself.

    It holds the adapter (adapter/; where they are also peft/, pairs/, and the adapters that a client of `prefd serve` saved), spec.json,
    which can be handed in again, frozen.json with the versions and data that it ran with, metrics.jsonl, samples.jsonl, worker.log,
    job.json, and report.txt, which is what `prefd show` prints.
    Checkpoints stay behind, and the job stays where it is: `prefd rm ID` removes it. Works without the daemon too.
    """
    from prefd.daemon.jobs.details import JobDetails
    from prefd.daemon.runs.archive import write_archive
    from prefd.daemon.terminal import report

    into = home.archive if to is None else expand_user(to).absolute()
    if to is not None and (refusal := explain_own_folder(home, into)):
        raise click.BadParameter(refusal, param_hint="--to")
    run = RunDir(home.job(job_id))
    with read_jobs(home) as table:
        details = JobDetails.read(table, job_id, run)
        job = details.job
        if not job.ended:
            raise Failure(
                f"job {job_id} is {job.state}: only a job that has ended can be archived; `prefd wait {job_id}` waits"
            )
        if lost := find_lost_folder(job, run):
            raise Failure(f"job {job_id} ({job.name}) cannot be archived: {lost}", Exit.NOT_FOUND)
        target = into / name_archive(job_id, job.name)

        def check_unchanged() -> None:
            with read_jobs(home) as now:
                current = now.get(job_id)
            if not current.ended or current.attempt != job.attempt:
                raise Failure(
                    f"job {job_id} was run again while it was copied: it is {current.state}; nothing is archived"
                )

        from rich.console import Console

        text = io.StringIO()
        console = Console(file=text, width=REPORT_WIDTH, highlight=False, markup=False, emoji=False)
        console.print(render.make_facts(report.job_facts(details)))
        lines = [line.rstrip() for line in text.getvalue().splitlines()]
        write_archive(
            run,
            target,
            spec=None if details.spec is None else details.spec.model_dump(mode="json", exclude_unset=True),
            details=details.to_json(),
            report="\n".join(lines) + "\n",
            folders=["adapter", "peft", "pairs", "live/sampler_weights", *(["fused", "gguf"] if fused else [])],
            check=check_unchanged,
        )
    size = measure_folder(target)
    if as_json:
        render.emit_json({"job": job_id, "archive": str(target), "bytes": size})
        return
    click.echo(str(target))
    render.print_note(f"job {job_id} ({job.name}), {format_size(size)}")


def name_archive(job_id: int, name: str) -> str:
    """Names the folder of an archive: the job's number and name, without what a file system may refuse."""
    plain = re.sub(r"[^\w.+-]+", "-", name)[:60].strip("-.")
    return f"{job_id}-{plain}" if plain else str(job_id)
