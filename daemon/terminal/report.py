"""Reports what a job did: the lines of `prefd show`, of the end of `prefd watch`, and of `prefd run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefd.daemon.runs.phase_outcomes import Outcome, TrainingOutcome
from prefd.daemon.runs.phase_summaries import BestEvaluation, Metrics, TrainingSummary
from prefd.daemon.runs.phases import Phase
from prefd.daemon.runs.report_files import ReportState
from prefd.daemon.runs.snapshot import describe_stock
from prefd.daemon.runs.xray_summary import XRaySummary
from prefd.daemon.specs.summary import Fact, spec_facts
from prefd.daemon.terminal import render
from prefd.daemon.terminal.waiting import describe_waiting
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.times import format_clock, format_duration
from prefd.daemon.text.wording import format_number, list_numbers, pluralize
from prefd.plugins.metrics import EVAL, LABELS, PART

if TYPE_CHECKING:
    from prefd.daemon.jobs.details import JobDetails
    from prefd.daemon.jobs.job import Event


def job_facts(details: JobDetails) -> list[Fact]:
    """Lists everything `prefd show` says, as names and values; an empty name goes on with the one above."""
    job, spec = details.job, details.spec
    facts: list[Fact] = [("job", f"{job.id}  {job.name}"), ("state", render.color_state(job.state))]
    facts += _list_facts("reason", job.reason.splitlines())
    facts += [("waiting", waiting)] if (waiting := describe_waiting(job)) else []
    by_hand = ": what the job made was removed by hand" if details.lost.endswith(" is gone") else ""
    facts += [("folder", details.lost.removeprefix("its folder ") + by_hand)] if details.lost else []
    facts += [("size", format_size(job.bytes))] if job.bytes is not None and not details.lost else []
    facts += _list_facts("after", [f"{list_numbers(job.after)}"] if job.after and not job.ended else [])
    facts += [("priority", str(job.priority))] if job.priority else []
    facts += [("group", job.group)] if job.group else []
    facts += [("sweep", job.description)] if job.description else []
    facts += [("attempt", str(job.attempt))] if job.attempt > 1 else []
    facts += [("source", job.source)]
    states = {event.state for event in details.history}
    needs_reference = "precomputing" in states or "training" not in states
    facts += [] if spec is None else spec_facts(spec, needs_reference)
    facts += _list_facts("claimed with", [] if details.stock is None else describe_stock(details.stock))
    facts += _list_facts(
        "history", [f"{format_clock(event.at)}  {_describe_event(event)}" for event in details.history]
    )
    summaries = [outcome.summary.data for outcome in details.outcomes.values() if outcome is not None]
    data = next((summary for summary in summaries if summary is not None), None)
    facts += _list_facts("rows", [] if data is None else data.describe())
    facts += xray_facts(*(outcome.summary.xray for outcome in details.outcomes.values() if outcome is not None))
    for phase, outcome in details.outcomes.items():
        facts += [
            each
            for each in phase_facts(phase, outcome, job.phase_seconds.get(phase))
            if each[0] != "warning" or each not in facts
        ]
    if (progress := details.progress) is not None and not job.ended:
        facts.append(
            ("progress", ", ".join(filter(None, [f"{progress.phase}: {progress.describe_count()}", progress.note])))
        )
    facts += report_facts(details.reports)
    facts += [(name, str(path)) for name, path in details.outputs.items()]
    training = details.outcomes.get("training")
    if job.state == "done" and training is not None and "adapter" not in details.outputs:
        adapter = training.summary.adapter if isinstance(training, TrainingOutcome) else None
        facts += [("adapter", f"{adapter} is gone")] if adapter else []
    return facts


def xray_facts(*summaries: XRaySummary | None) -> list[Fact]:
    """Lists which pairs to doubt, as the first phase that has examined them says."""
    summary = next((each for each in summaries if each is not None), None)
    return _list_facts("xray", [] if summary is None else summary.describe())


def report_facts(reports: Sequence[ReportState]) -> list[Fact]:
    """Lists how far the reports to other tools are, and what went wrong with each."""
    facts = _list_facts("reports", [each.describe() for each in reports])
    return facts + [("warning", f"the report to {each.to}: {each.error}") for each in reports if each.error]


def phase_facts(phase: Phase, outcome: Outcome | None, seconds: float | None) -> list[Fact]:
    """Lists how a phase went, as names and values: its time, its numbers, its warnings."""
    parts = [] if seconds is None else [format_duration(seconds)]
    if outcome is None:
        return _list_facts(phase, parts)
    parts += [] if outcome.ok else ["failed"]
    warnings: list[Fact] = [("warning", text) for text in outcome.summary.warnings]
    if isinstance(outcome, TrainingOutcome):
        return training_facts(outcome.summary, parts) + warnings
    parts += [outcome.summary.line] if outcome.summary.line else []
    return _list_facts(phase, ["; ".join(parts)]) + machine_facts(outcome.summary.machine) + warnings


def machine_facts(machine: str, peak_gb: float | None = None) -> list[Fact]:
    """Names what a phase ran on, with the most memory that it took; nothing where that is not known."""
    peak = f"{peak_gb:.1f} GB of memory at most; " if peak_gb else ""
    return [("machine", f"{peak}{machine}")] if machine else []


def training_facts(summary: TrainingSummary, parts: Sequence[str]) -> list[Fact]:
    """Lists the numbers of training behind `parts` of its first line."""
    steps = [] if summary.steps is None else [pluralize(summary.steps, "step")]
    facts = _list_facts("training", ["; ".join([*parts, *steps]), *training_lines(summary)]) + held_out_facts(
        summary.eval
    )
    facts += [] if summary.adapter_off is None else [("reference pass", summary.adapter_off.line)]
    facts += [] if summary.samples is None else [("samples", summary.samples.line)]
    facts += machine_facts(summary.machine, summary.peak_memory_gb)
    if summary.fused_check is not None and summary.fused_check.line:
        facts.append(("fusing", summary.fused_check.line))
    return facts + best_facts(summary.best)


def training_lines(summary: TrainingSummary) -> list[str]:
    """Formats how each metric that is shown changed from the first step to the last, a line each."""
    first_row, last_row = summary.first or {}, summary.last or {}
    changes = {name: (first_row.get(key), last_row[key]) for key, name in label_metrics(last_row).items()}
    width = max(map(len, (*LABELS.values(), *changes))) + 1
    return [f"{name:<{width}}{format_number(begin)} → {format_number(end)}" for name, (begin, end) in changes.items()]


def label_metrics(values: Mapping[str, Any]) -> dict[str, str]:
    """Labels the metrics of `values` that are shown of a job: the parts of a mixed loss come behind it."""
    parts = {key: key for key in values if key.startswith(PART)}
    labels = {"loss": LABELS["loss"], **parts, **LABELS}
    return {key: label for key, label in labels.items() if key in values}


def phase_line(phase: Phase, outcome: Outcome | None, seconds: float | None) -> str:
    """Formats one line for a phase that ended."""
    first, *other_lines = [str(text) for name, text in phase_facts(phase, outcome, seconds) if name in (phase, "")] or [
        ""
    ]
    return "; ".join([first, ", ".join(" ".join(text.split()) for text in other_lines)]).removesuffix("; ")


def held_out_facts(values: Metrics | None) -> list[Fact]:
    """Lists the last evaluation, whether or not its names begin with `eval_`."""
    if not values:
        return []
    plain = {key.removeprefix(EVAL): value for key, value in values.items()}
    numbers = [
        f"{name} {format_number(plain[key])}" for key, name in label_metrics(plain).items() if plain[key] is not None
    ]
    return [("held out", "  ".join(numbers))]


def best_facts(best: BestEvaluation | None) -> list[Fact]:
    """Names the best evaluation, where its checkpoint is kept."""
    if best is None:
        return []
    place = best.checkpoint if Path(best.checkpoint).exists() else f"{best.checkpoint}, which is gone"
    return [("best", f"{best.metric} {format_number(best.value)} at step {best.step}: {place}")]


def _describe_event(event: Event) -> str:
    reason = event.reason.splitlines()
    return f"{event.state}: {reason[0]}" if reason else event.state


def _list_facts(name: str, lines: Sequence[str]) -> list[Fact]:
    return [(name if index == 0 else "", line) for index, line in enumerate(lines)]
