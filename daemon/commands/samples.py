"""`prefd samples` shows what a policy answered while it trained, beside what its start answered."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from prefd.daemon.commands.shared.completions import JOB
from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import json_option, pass_timing, read_jobs
from prefd.daemon.commands.shared.sections import HelpPlace, Section
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.lost_folder import explain_missing, find_lost_folder
from prefd.daemon.machine.streams import end_with_reader
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.terminal import render
from prefd.daemon.terminal.short_text import shorten
from prefd.daemon.timing import Timing

if TYPE_CHECKING:
    from rich.text import Text

    from prefd.daemon.jobs.table import Job, JobTable
    from prefd.daemon.runs.samples import DrawnAnswer, DrawnSample, SamplesLog

PLACE = HelpPlace(Section.JOBS, 126)
ENDINGS = {"stop": "", "length": "cut at max_tokens", "time": "cut for time"}


@click.command(
    epilog="""\b
Examples:
  prefd samples 3
  prefd samples 3 --step 100 --full
  prefd samples 3 --follow      until the job ends
  prefd samples 3 --all --json | jq -r '.samples[] | [.step, .answer.text] | @tsv'"""
)
@click.argument("job_id", metavar="ID", type=JOB)
@click.option("--step", type=click.IntRange(min=0), help="Those drawn after this step; default: the newest.")
@click.option("--all", "every_step", is_flag=True, help="Those of every step.")
@click.option("-f", "--follow", is_flag=True, help="Go on printing as answers come, until the job ends.")
@click.option("--full", is_flag=True, help="Leave nothing out of long texts.")
@json_option
@pass_timing
@click.pass_obj
def samples(
    home: Home,
    timing: Timing,
    job_id: int,
    step: int | None,
    every_step: bool,
    follow: bool,
    full: bool,
    as_json: bool,
) -> None:
    """Show what a policy answered while it trained.

    Each prompt with the answer of the start, the policy before its first step, and that of the policy as it was then. They are drawn where the spec has eval_samples.
    """
    if step is not None and every_step:
        raise click.UsageError("--step names one and --all means all: leave out one of the two")
    if follow and (as_json or step is not None):
        raise click.UsageError("--follow prints what comes, as text: leave out --json and --step")
    with read_jobs(home) as jobs:
        job = jobs.get(job_id)
        log = RunDir(home.job(job_id), job.ulid).samples
        page = log.read_page(job_id, step, every_step)
        if as_json:
            render.emit_json({"name": job.name, **page.to_json()})
            return
        if not page.samples and not follow:
            raise Failure(explain_none(home, jobs, job, page.steps, step), Exit.NOT_FOUND)
        if follow:
            end_with_reader()
            follow_samples(jobs, job_id, log, every_step, full, timing.log_look)
            return
        show_samples(page.samples, full)
        if len(page.steps) > 1 and not every_step:
            steps = ", ".join(map(str, page.steps))
            render.print_note(f"drawn after steps {steps}; --step N shows those of one, --all every one")


def explain_none(home: Home, jobs: JobTable, job: Job, steps: Sequence[int], step: int | None) -> str:
    """Says why there is nothing to show, and what to do."""
    if steps and step is not None:
        return f"job {job.id} ({job.name}) drew no answers after step {step}, but after {', '.join(map(str, steps))}"
    spec = jobs.find_spec(job.id)
    if spec is not None and spec.eval_samples is None:
        return f"job {job.id} ({job.name}) draws no samples; add eval_samples: {{prompts: 4}} to its spec"
    lost = find_lost_folder(job, RunDir(home.job(job.id)))
    return f"job {job.id} ({job.name}) {explain_missing(job, lost, 'samples')}"


def follow_samples(jobs: JobTable, job_id: int, log: SamplesLog, every_step: bool, full: bool, pause: float) -> None:
    """Prints the newest answers, or those of `every_step`, and each that comes, until the job has ended.

    `pause`: seconds between two looks.
    """
    drawn = log.read()
    show_samples([each for each in drawn if every_step or each.step == drawn[-1].step], full)
    while True:
        ended, printed_count = (
            jobs.get(job_id).ended,
            len(drawn),
        )  # asked before reading, so that the last answers are not missed
        drawn = log.read()
        show_samples(drawn[printed_count:], full)
        if ended and len(drawn) <= printed_count:
            return
        if not ended:
            time.sleep(pause)


def show_samples(drawn: Sequence[DrawnSample], full: bool) -> None:
    """Prints answers, each beside that of the start."""
    console = render.open_stdout()
    for sample in drawn:
        for line in describe_sample(sample, full):
            console.print(line, soft_wrap=True)
        console.print()


def describe_sample(sample: DrawnSample, full: bool) -> Iterator[Text]:
    """Yields the lines of an answer: where it stands, the prompt, what the start answered and what the policy did."""
    from rich.text import Text

    from prefd.daemon.terminal.preview import make_visible

    yield Text.assemble((f"step {sample.step}", "bold"), f"  {sample.place}")
    yield _name_text("prompt", make_visible(sample.prompt) if full else shorten(sample.prompt, keep_end=True))
    if sample.step:
        yield _describe_answer("start", sample.start, "could not be drawn", full)
    name = "policy" if sample.step else "start"
    yield _describe_answer(name, sample.answer, f"could not be drawn: {sample.fault}", full)


def _describe_answer(name: str, answer: DrawnAnswer | None, missing: str, full: bool) -> Text:
    from rich.text import Text

    from prefd.daemon.terminal.preview import make_visible

    if answer is None:
        return _name_text(name, Text(missing, style="red"))
    text = make_visible(answer.text) if full else shorten(answer.text, keep_end=False)
    line = _name_text(name, text)
    ending = ENDINGS[answer.ended]
    return line.append(f"  ({answer.tokens} tokens, {ending})", style="dim") if ending else line


def _name_text(name: str, text: str | Text) -> Text:
    from rich.text import Text

    return Text.assemble((f"  {name:<8}", "dim"), text)
