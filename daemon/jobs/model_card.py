"""Writes the card of a trained job's files for a model hub: what was trained from what, on which data, by which loss, and how it went.

Nothing of this machine stands in it: a model or dataset that is a folder or file here is named by its last name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefd.daemon.jobs.details import JobDetails
from prefd.daemon.runs.phase_outcomes import TrainingOutcome
from prefd.daemon.runs.phase_summaries import TrainingSummary
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.summary import describe_loss, describe_training
from prefd.daemon.text.wording import format_number, pluralize
from prefd.plugins.metrics import EVAL, LABELS

USES = {
    "adapter": "`adapter`: an adapter for mlx-lm, `mlx_lm.generate --model BASE --adapter-path FOLDER`",
    "fused": "`fused`: the whole model, for mlx-lm",
    "peft": "`peft`: the adapter for transformers + peft",
    "gguf": "`gguf`: the whole model as GGUF, for llama.cpp and Ollama",
}


def write_card(details: JobDetails, parts: Sequence[str]) -> str:
    """Write the card, of files that are `parts` of what the job left; its first lines are what a hub reads."""
    spec, outcome = details.spec, details.outcomes.get("training")
    assert spec is not None and spec.training is not None  # noqa: PT018
    assert isinstance(outcome, TrainingOutcome)
    sections = [
        "---\n" + "".join(f"{name}: {json.dumps(value)}\n" for name, value in _list_metadata(spec, parts)) + "---",
        f"# {details.job.name}",
        f"{name_source(spec.model)}, tuned on preferences with [prefd](https://pypi.org/project/prefd/).",
        "\n".join(f"- {USES[part]}" for part in parts),
        "## Training\n\n" + _write_table(dict(_list_facts(spec, outcome.summary))),
        "## Metrics\n\n" + _write_metrics(outcome.summary),
    ]
    if details.stock is not None:
        sections.append("## Versions\n\n" + _write_table(details.stock.versions))
    return "\n\n".join(sections) + "\n"


def name_source(name: str) -> str:
    """Name a model or a dataset as others know it: by its hub id, or the last name of its path here."""
    return Path(name).name if Path(name).is_absolute() else name


def _list_metadata(spec: JobSpec, parts: Sequence[str]) -> Iterator[tuple[str, Any]]:
    yield "library_name", "peft" if list(parts) == ["peft"] else "mlx"
    yield "pipeline_tag", "text-generation"
    yield "tags", ["prefd", "preference-tuning", *sorted(spec.loss_names), *(["gguf"] if "gguf" in parts else [])]
    if not Path(spec.model).is_absolute():
        yield "base_model", spec.model
    if datasets := [source.path for source in spec.data.sources if not Path(source.path).is_absolute()]:
        yield "datasets", datasets


def _list_facts(spec: JobSpec, summary: TrainingSummary) -> Iterator[tuple[str, str]]:
    assert spec.training is not None
    yield "base model", name_source(spec.model)
    if spec.adapter is not None:
        yield "started from the adapter", name_source(spec.adapter)
    if spec.named_reference is not None:
        yield "reference", name_source(spec.named_reference.model)
    yield "data", ", ".join(name_source(source.path) for source in spec.data.sources)
    if summary.data is not None:
        yield "pairs", f"{summary.data.used:,} to train on, {summary.data.held_out:,} held out"
    yield "loss", describe_loss(spec)
    yield "training", describe_training(spec.training)
    steps = pluralize(summary.steps or 0, "step")
    yield (
        "steps",
        steps if summary.adapter_step in (None, summary.steps) else f"{steps}; of step {summary.adapter_step}",
    )
    if summary.machine:
        yield "machine", summary.machine


def _write_metrics(summary: TrainingSummary) -> str:
    first, last, held_out = summary.first or {}, summary.last or {}, summary.eval or {}
    rows = [
        (label, first.get(name), last.get(name), held_out.get(EVAL + name))
        for name, label in {"loss": "loss", **LABELS}.items()
        if name in last
    ]
    lines = [
        f"| {name} | {' | '.join('' if value is None else format_number(value) for value in values)} |"
        for name, *values in rows
    ]
    return "\n".join(["| | first step | last step | held out |", "| --- | --- | --- | --- |", *lines])


def _write_table(facts: Mapping[str, str]) -> str:
    rows = [f"| {name} | {' '.join(str(text).split()).replace('|', chr(92) + '|')} |" for name, text in facts.items()]
    return "\n".join(["| | |", "| --- | --- |", *rows])
