"""Compares jobs: their settings, their numbers, and which came off best. Pure; `prefd compare` shows it.

A value is called the best only where it can be: a loss and a reward are in units of the loss and its parameters and
relative to a reference, and every evaluation is of one set of held-out pairs. The reward and the log-probability of
one side alone are shown without a best: training may lower both and still prefer the right one.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from prefd.daemon.jobs.lost_folder import find_lost_folder
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.text.wording import format_number
from prefd.plugins.dotted_settings import flatten
from prefd.plugins.metrics import EVAL, EVAL_LOSS, METRICS, OF_PAIRS

if TYPE_CHECKING:
    from prefd.daemon.jobs.table import Job
    from prefd.daemon.specs.job_spec import JobSpec

Row = dict[str, Any]
Settings = Mapping[str, Any]
"""A spec by dotted name, without what is left out or null: {"loss.beta": 0.1, …}."""
UNTRAINED = ("name", "group", "priority", "report_to", "loss.name")
"""Settings that change nothing of what is trained; the losses' names have a row of their own."""


@dataclass(frozen=True)
class Measure:
    """Measure is a row of the comparison. `among`: which jobs a best value may be taken of; None where no direction is better."""

    key: str
    better: Literal["higher", "lower"] | None = None
    among: Literal["same loss", "same pairs", "same work", "done"] = "same pairs"
    label: str = ""
    """What the table calls it, where that is not its key."""


PEAK_MEMORY = METRICS["peak_memory_gb"]
MEASURES = (
    Measure("steps"),
    *(Measure(EVAL + one.name, one.better, "same loss" if one.in_loss_units else "same pairs") for one in OF_PAIRS),
    Measure("seconds", "lower", "same work", "seconds of training"),
    Measure(PEAK_MEMORY.name, PEAK_MEMORY.better, "done", f"{PEAK_MEMORY.title.lower()}, {PEAK_MEMORY.unit}"),
)
IN_LOSS_UNITS = " and ".join(each.key for each in MEASURES if each.better and each.among == "same loss")


@dataclass(frozen=True)
class ComparedJob:
    """ComparedJob is one job: its settings, and its numbers by the names of MEASURES (None: not measured)."""

    id: int
    name: str
    state: str
    settings: Settings | None
    """None where this version of prefd does not understand the job's spec."""
    numbers: Mapping[str, float | None]
    evaluated_at: int | None
    """The step of the evaluation in `numbers`: that of the adapter, where the job has left one, or the last."""
    rows: Sequence[Row] = field(default=(), repr=False)
    """metrics.jsonl, for curves; empty where none are drawn."""
    lost: str = ""
    """That the job's folder is gone, where it is."""

    @property
    def loss(self) -> str:
        """Name the job's losses, as `sigmoid + sft`."""
        settings = self.settings or {}
        mixed = settings.get("loss")  # a list, where several are added up
        return " + ".join(each["name"] for each in mixed) if mixed else str(settings.get("loss.name", "-"))

    def part(self, *prefixes: str) -> str | None:
        """Returns the settings under `prefixes` as text that is equal where they are equal; None where they are not known."""
        if self.settings is None:
            return None
        return json.dumps({name: self.settings[name] for name in sorted(self.settings) if name.startswith(prefixes)})


@dataclass(frozen=True)
class RunCourse:
    """RunCourse is what a comparison takes of a run's metrics."""

    steps: int | None
    """The last step that was logged."""
    peak_memory_gb: float | None
    evaluation: Row
    """The evaluation of the adapter, or the last one; empty where there is none."""


def read_course(rows: Iterable[Row], adapter_step: int | None) -> RunCourse:
    """Read the course of a run from its rows, of which none is kept but an evaluation. `adapter_step`: the adapter's."""
    steps: float | None = None
    peak: float | None = None
    last: Row = {}
    of_adapter: Row = {}
    for row in rows:
        steps = _find_larger(steps, row.get("step"))
        peak = _find_larger(peak, row.get(PEAK_MEMORY.name))
        if EVAL_LOSS in row:
            last = row
            of_adapter = row if row.get("step") == adapter_step else of_adapter
    return RunCourse(None if steps is None else int(steps), peak, of_adapter or last)


def _find_larger(largest: float | None, value: float | None) -> float | None:
    finite = _keep_finite(value)
    return largest if finite is None or (largest is not None and largest >= finite) else finite


def _keep_finite(value: float | None) -> float | None:
    """Return a value that can be compared; None for NaN and infinities, of which none is better than another."""
    return value if value is not None and math.isfinite(value) else None


def gather_job(
    job: Job,
    spec: JobSpec | None,
    run: RunDir,
    find_course: Callable[[int | None], RunCourse] | None = None,
    rows: Sequence[Row] = (),
) -> ComparedJob:
    """Gather what `run` holds of `job`: of a job that still runs, as far as it has come.

    `find_course`: finds the course for the step of the adapter, None to read the run's metrics. `rows`: kept for curves.
    """
    from prefd.daemon.runs.phase_summaries import TrainingSummary  # pydantic takes 40 ms to import

    outcome = run.outcome("training")
    summary = outcome.summary if outcome else TrainingSummary()
    if find_course is None:
        course = read_course(rows or run.read_metrics(), summary.adapter_step)
    else:
        course = find_course(summary.adapter_step)
    evaluation = course.evaluation
    numbers = {measure.key: _keep_finite(evaluation.get(measure.key)) for measure in MEASURES}
    numbers |= {
        "steps": course.steps if summary.steps is None else summary.steps,
        "seconds": job.phase_seconds.get("training"),
        PEAK_MEMORY.name: _find_larger(course.peak_memory_gb, summary.peak_memory_gb),
    }
    settings = None if spec is None else flatten_settings(spec.model_dump(mode="json"))
    return ComparedJob(
        job.id, job.name, job.state, settings, numbers, evaluation.get("step"), rows, find_lost_folder(job, run)
    )


def describe_comparison(jobs: Sequence[ComparedJob]) -> dict[str, Any]:
    """Describe the comparison as `prefd compare --json` prints it."""
    names = find_differences(jobs)
    return {
        "jobs": [
            {
                "job": job.id,
                "name": job.name,
                "state": job.state,
                "loss": None if job.settings is None else job.loss,
                "settings": {name: (job.settings or {}).get(name) for name in names},
                "evaluated_at_step": job.evaluated_at,
                **job.numbers,
            }
            for job in jobs
        ],
        "differing": names,
        "best": find_best(jobs),
        "notes": write_notes(jobs),
    }


def flatten_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens nested settings by dotted name. What is null, or an empty block, is as if it were not there."""
    return {name: value for name, value in flatten(settings) if value is not None and value != {}}


def find_differences(jobs: Sequence[ComparedJob]) -> list[str]:
    """Lists the settings that are not the same in all jobs that could have them, without names: the loss's first, data last.

    A job that only fills the cache has no training settings to differ by.
    """
    specs = [job.settings for job in jobs if job.settings is not None]
    training_specs = [settings for settings in specs if any(name.startswith("training.") for name in settings)]
    names = dict.fromkeys(name for settings in specs for name in settings)
    differences = [
        name
        for name in names
        if name not in UNTRAINED
        and not name.startswith("eval_samples.")
        and not _all_equal(each.get(name) for each in (training_specs if name.startswith("training.") else specs))
    ]
    return sorted(differences, key=lambda name: (not name.startswith("loss"), not name.startswith("training.")))


def find_best(jobs: Sequence[ComparedJob]) -> dict[str, list[int]]:
    """Returns by measure the ids of the jobs with the best value; measures that cannot be compared here are left out.

    Values that read the same are equally good: what tells them apart is scatter, and nobody sees it.
    """
    best_ids: dict[str, list[int]] = {}
    for measure in MEASURES:
        if measure.better is None or not (measured := _select_comparable(measure, jobs)):
            continue
        values = [value for _, value in measured]
        best_text = format_number(max(values) if measure.better == "higher" else min(values))
        if len({format_number(value) for value in values}) > 1:
            best_ids[measure.key] = [job.id for job, value in measured if format_number(value) == best_text]
    return best_ids


def write_notes(jobs: Sequence[ComparedJob]) -> list[str]:
    """Writes what a reader of the table must know: what is missing and why, and what cannot be compared."""
    lines = [line for job in jobs if (line := _describe_missing(job))]
    evaluated = [job for job in jobs if job.evaluated_at is not None]
    if not _all_equal(_pairs_key(job) for job in evaluated):
        lines.append("the held-out pairs differ (data): no evaluation is comparable, and none is marked")
    elif not _all_equal(_loss_key(job) for job in evaluated):
        lines.append(
            f"{IN_LOSS_UNITS} are comparable only between jobs of the same loss, parameters and reference: not marked"
        )
    return lines


def shorten_values(values: Sequence[Any]) -> list[str]:
    """Formats a row of settings as cells. Paths lose the folders that they have in common: their ends tell them apart."""
    paths = [value for value in values if isinstance(value, str) and os.path.isabs(value)]
    shared = os.path.commonpath(paths) if len(set(paths)) > 1 else ""
    return [_format_cell(os.path.relpath(value, shared) if shared and value in paths else value) for value in values]


def _format_cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)


def _select_comparable(measure: Measure, jobs: Sequence[ComparedJob]) -> list[tuple[ComparedJob, float]]:
    """Selects the jobs with a value for `measure`, where these may be set against each other; else none."""
    measured = [(job, value) for job in jobs if (value := job.numbers.get(measure.key)) is not None]
    if measure.among in ("done", "same work"):
        measured = [(job, value) for job, value in measured if job.state == "done"]
    if measure.among == "done":
        return measured
    key = {"same loss": _loss_key, "same pairs": _pairs_key, "same work": _work_key}[measure.among]
    units = [key(job) for job, _ in measured]
    return measured if None not in units and _all_equal(units) else []


def _pairs_key(job: ComparedJob) -> str | None:
    """Identifies the pairs that the job was evaluated on."""
    return job.part("data.")


def _loss_key(job: ComparedJob) -> str | None:
    """Identifies what the units of its loss and rewards depend on: the pairs, the loss, and the reference."""
    has_reference = bool(job.settings) and "reference.model" in (job.settings or {})
    return job.part("data.", "loss", *(["reference."] if has_reference else ["model", "adapter", "training.quantize."]))


def _work_key(job: ComparedJob) -> str | None:
    """Identifies how much it trained: the pairs of a step, and the steps."""
    pairs = job.part("data.", "training.batch_size", "training.gradient_accumulation_steps")
    return None if pairs is None else f"{pairs} × {job.numbers['steps']}"


def _describe_missing(job: ComparedJob) -> str | None:
    job_name = f"job {job.id} ({job.name})"
    if job.settings is None:
        return f"{job_name}: its spec is of another version of prefd, so its settings are not known"
    if not any(name.startswith("training.") for name in job.settings):
        return f"{job_name} trains nothing: it only fills the cache"
    if job.numbers["steps"] is None:
        return f"{job_name}: {job.lost}" if job.lost else f"{job_name} has trained no step: it is {job.state}"
    if job.evaluated_at is None:
        held_out = job.settings.get("data.validation")
        return f"{job_name} has no evaluation" + (
            ": it holds no pairs out (data.validation)" if held_out == 0 else " yet"
        )
    if job.state != "done":
        return f"{job_name} is {job.state}: its evaluation is of step {job.evaluated_at}"
    if job.evaluated_at != job.numbers["steps"] and job.settings.get("training.load_best_model_at_end"):
        return f"{job_name} left the adapter of step {job.evaluated_at}, its best: that evaluation is shown"
    return None


def _all_equal(values: Iterable[Any]) -> bool:
    return len({json.dumps(value) for value in values}) <= 1
