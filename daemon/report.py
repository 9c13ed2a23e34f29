"""What a job did, in words: the lines of `prefd show`, of the end of `prefd watch`, and of `prefd run`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefd.daemon import render
from prefd.daemon.describe import Fact, spec_facts
from prefd.daemon.frozen import frozen_stock
from prefd.daemon.frozen import lines as frozen_lines
from prefd.daemon.job_document import outputs
from prefd.daemon.moments import format_clock, format_duration
from prefd.daemon.rundir import PHASES, Outcome, Phase, RunDir
from prefd.daemon.text import format_number, pluralize
from prefd.plugins.metrics import EVAL, LABELS, PART

if TYPE_CHECKING:
    from prefd.daemon.jobs import Event, Job
    from prefd.daemon.spec import JobSpec


def job_facts(job: Job, spec: JobSpec | None, history: list[Event], run: RunDir) -> list[Fact]:
    """Everything `prefd show` says, as names and values; an empty name goes on with the one above."""
    facts: list[Fact] = [("job", f"{job.id}  {job.name}"), ("state", render.state(job.state))]
    facts += _block("reason", job.reason.splitlines())
    facts += [("waiting", job.waiting)] if job.waiting else []
    facts += [("priority", str(job.priority))] if job.priority else []
    facts += [("group", job.group)] if job.group else []
    facts += [("sweep", job.description)] if job.description else []
    facts += [("attempt", str(job.attempt))] if job.attempt > 1 else []
    facts += [("source", job.source)]
    states = {event.state for event in history}
    needs_reference = "precomputing" in states or "training" not in states
    facts += [] if spec is None else spec_facts(spec, needs_reference)
    facts += _block("claimed with", [] if (stock := frozen_stock(run)) is None else frozen_lines(stock))
    facts += _block("history", [f"{format_clock(event.at)}  {_event(event)}" for event in history])
    ends = {phase: run.outcome(phase) for phase in PHASES}
    data = [end.summary["data"] for end in ends.values() if end is not None and end.summary.get("data")]
    facts += _block("rows", data_lines(data[0] if data else {}))
    for phase, end in ends.items():
        facts += [
            each
            for each in phase_facts(phase, end, job.phase_seconds.get(phase))
            if each[0] != "warning" or each not in facts
        ]
    if (progress := run.progress()) is not None and not job.ended:
        facts.append(("progress", f"{progress.phase}: {progress.done} of {progress.total} {progress.unit}"))
    return facts + [(name, str(path)) for name, path in outputs(job, run).items()]


def phase_facts(phase: Phase, outcome: Outcome | None, seconds: float | None) -> list[Fact]:
    said = [] if seconds is None else [format_duration(seconds)]
    if outcome is None:
        return _block(phase, said)
    summary = outcome.summary
    said += [] if outcome.ok else ["failed"]
    warnings: list[Fact] = [("warning", text) for text in summary.get("warnings") or ()]
    if phase == "training":
        said += [pluralize(summary["steps"], "step")] if "steps" in summary else []
        lines = _block(phase, ["; ".join(said), *training_lines(summary)]) + held_out_facts(summary.get("eval"))
        if line := (summary.get("fused_check") or {}).get("line"):
            lines.append(("fusing", line))
        return lines + best_facts(summary.get("best")) + warnings
    said += [summary["line"]] if summary.get("line") else []
    return _block(phase, ["; ".join(said)]) + warnings


def data_lines(data: Mapping[str, Any]) -> list[str]:
    """The data report in the worker's own words; of a job that ran before reports had words, its two counts."""
    if not data:
        return []
    return data.get("lines") or [f"{data.get('used', 0)} used, {data.get('held_out', 0)} held out"]


def training_lines(summary: Mapping[str, Any]) -> list[str]:
    first, last = summary.get("first") or {}, summary.get("last") or {}
    changes = {name: (first.get(key), last[key]) for key, name in told(last).items()}
    width = max(map(len, (*LABELS.values(), *changes))) + 1
    return [f"{name:<{width}}{format_number(begin)} → {format_number(end)}" for name, (begin, end) in changes.items()]


def told(values: Mapping[str, Any]) -> dict[str, str]:
    """The metrics of `values` that are shown of a job, by what they are called: the parts of a mixed loss behind it."""
    parts = {key: key for key in values if key.startswith(PART)}
    labels = {"loss": LABELS["loss"], **parts, **LABELS}
    return {key: label for key, label in labels.items() if key in values}


def phase_line(phase: Phase, outcome: Outcome | None, seconds: float | None) -> str:
    """One line for a phase that ended."""
    first, *rest = [str(text) for name, text in phase_facts(phase, outcome, seconds) if name in (phase, "")] or [""]
    return "; ".join([first, ", ".join(" ".join(text.split()) for text in rest)]).removesuffix("; ")


def held_out_facts(values: Mapping[str, Any] | None) -> list[Fact]:
    """The last evaluation, whether or not its names begin with `eval_`."""
    if not values:
        return []
    plain = {key.removeprefix(EVAL): value for key, value in values.items()}
    numbers = [f"{name} {format_number(plain[key])}" for key, name in told(plain).items() if plain[key] is not None]
    return [("held out", "  ".join(numbers))]


def best_facts(best: Mapping[str, Any] | None) -> list[Fact]:
    """The best evaluation, where its checkpoint is kept."""
    if not best:
        return []
    said = f"{best['metric']} {format_number(best['value'])} at step {best['step']}"
    return [("best", f"{said}: {best['checkpoint']}")]


def _event(event: Event) -> str:
    reason = event.reason.splitlines()
    return f"{event.state}: {reason[0]}" if reason else event.state


def _block(name: str, lines: list[str]) -> list[Fact]:
    return [(name if at == 0 else "", line) for at, line in enumerate(lines)]
