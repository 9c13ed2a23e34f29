"""`prefd push` uploads what a job has trained to the Hugging Face hub, when it is told to."""

from __future__ import annotations

import sys

import click

from prefd.daemon.commands.shared.completions import JOB
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, read_jobs
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render
from prefd.daemon.text.sizes import format_size

PLACE = HelpPlace(Section.JOBS, 132)
PARTS = ("adapter", "fused", "peft", "gguf")


@click.command(
    epilog="""\b
Examples:
  prefd push 3 --repo me/my-adapter
  prefd push 3 --repo me/my-model --part fused --public
  prefd push 3 --repo me/my-model --part adapter --part gguf --yes
  prefd push 3 --repo me/my-adapter --dry-run"""
)
@click.argument("job_id", metavar="ID", type=JOB)
@click.option("--repo", required=True, metavar="USER/NAME", help="The repository; it is made where there is none.")
@click.option(
    "--part",
    "parts",
    type=click.Choice(PARTS),
    multiple=True,
    help="What of the job; several get a folder each. Default: the adapter.",
)
@click.option("--public", is_flag=True, help="Let everyone see it; default: a private repository.")
@click.option("--dry-run", is_flag=True, help="Show the files and the card, and send nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def push(
    home: Home, job_id: int, repo: str, parts: tuple[str, ...], public: bool, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Upload what a job has trained to the Hugging Face hub.

    With a card that says what it was trained from, on which data, with which loss, and how that went. Nothing is sent before you have said yes, and the repository is private unless you say otherwise.
    """
    from prefd.daemon.jobs.details import JobDetails
    from prefd.daemon.jobs.hub_upload import plan_upload

    with read_jobs(home) as jobs:
        job = jobs.get(job_id)
        details = JobDetails.read(jobs, job_id, RunDir(home.job(job_id), job.ulid))
    upload = plan_upload(details, repo, list(dict.fromkeys(parts)) or ["adapter"], not public)
    kind = "public" if public else "private"
    document = {
        "job": job_id,
        "repo": repo,
        "private": not public,
        "files": [{"name": file.name, "bytes": file.bytes} for file in upload.files],
    }
    if dry_run and as_json:
        render.emit_json(document | {"card": bytes(upload.files[0].content).decode(), "url": None})
        return
    if not as_json:
        for file in upload.files:
            click.echo(f"{format_size(file.bytes):>10}  {file.name}")
    if dry_run:
        click.echo(f"\n{bytes(upload.files[0].content).decode()}", nl=False)
        render.print_note(f"nothing is sent; without --dry-run it is {format_size(upload.bytes)} to {repo}, {kind}")
        return
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise Failure("nothing is sent without being asked for: say --yes, or run it in a terminal", Exit.USAGE)
        click.confirm(f"Send {format_size(upload.bytes)} to {repo} on the hub, {kind}?", abort=True, err=True)
    from huggingface_hub import HfApi

    url = upload.send(HfApi())
    if as_json:
        render.emit_json(document | {"url": url})
        return
    click.echo(url)
