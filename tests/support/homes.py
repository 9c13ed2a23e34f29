"""Homes made by hand: jobs in every state with the files their workers would have left."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from prefd.daemon.cli import cli
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import Job, JobTable
from prefd.daemon.machine.files import write_json
from prefd.daemon.runs.data_summary import DataSummary
from prefd.daemon.runs.phase_outcomes import PrecomputeOutcome, TrainingOutcome
from prefd.daemon.runs.phase_summaries import PrecomputeSummary, TrainingSummary
from prefd.daemon.runs.run_folder import Progress, RunDir
from prefd.daemon.runs.samples import DrawnAnswer, DrawnSample
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.timing import Timing
from support.quick_timing import QUICK_TIMING

STEPS = 12

REPORT = {
    "source": "/data/pairs.jsonl",
    "rows": 128,
    "format": "messages",
    "used": 120,
    "held_out": 6,
    "truncated": 3,
    "boundary": 0,
    "unusable": {"identical sides": {"count": 2, "rows": [4, 17], "places": ["pairs.jsonl:4", "pairs.jsonl:17"]}},
    "lines": [
        "/data/pairs.jsonl: 128 rows in format messages, 126 usable",
        "unusable: 2 × identical sides (pairs.jsonl:4, 17)",
        "3 pairs cut at max_length 1024",
        "120 pairs to train on, 6 held out",
    ],
}


def make_spec(**changes: Any) -> JobSpec:
    fields: dict[str, Any] = {
        "name": "smol-ipo",
        "model": "org/small-model",
        "data": {"path": "/data/pairs.jsonl"},
        "loss": {"name": "ipo", "beta": 0.1},
        "training": {"learning_rate": 5e-5, "batch_size": 2},
    }
    return JobSpec.model_validate(fields | changes)


def metric_rows(steps: int = STEPS) -> list[dict[str, Any]]:
    """What a run of `steps` steps logs, with two evaluations."""
    rows: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        share = step / steps
        core = {
            "loss": 0.6931 - 0.3 * share,
            "rewards/chosen": 0.2 * share,
            "rewards/rejected": -0.4 * share,
            "rewards/margins": 0.6 * share,
            "rewards/accuracies": 0.5 + 0.4 * share,
            "logps/chosen": -120.5 + 2 * share,
            "logps/rejected": -140.25 - 8 * share,
        }
        extra = {
            "grad_norm": 1.5,
            "learning_rate": 5e-5,
            "tokens_per_second": 63.2,
            "peak_memory_gb": 2.1,
            "spread": 0.1,
        }
        rows.append({"step": step, "epoch": share, **core, **extra})
        if step % (steps // 2) == 0:
            rows.append({"step": step, "epoch": share, **{f"eval_{key}": value for key, value in core.items()}})
    return rows


def add_queued(home: Home, **changes: Any) -> Job:
    home.create()
    with JobTable.open(home.database) as jobs:
        spec = make_spec(**changes)
        return jobs.add(spec, source=f"01JABCDEFGHJKMNPQRSTVWXYZ0-{spec.name}.json")


def add_running(home: Home, **changes: Any) -> Job:
    """A job in training, a third of the way."""
    job = add_queued(home, **changes)
    run = run_folder(home, job)
    with JobTable.open(home.database) as jobs:
        jobs.transition(job.id, "precomputing")
        job = jobs.transition(job.id, "training", phase_seconds={"precompute": 31.6})
    run.write_outcome("precompute", precompute_outcome())
    metrics = {"loss": 0.5931, "rewards/accuracies": 0.625, "rewards/margins": 0.1875}
    run.write_progress(Progress("training", 4, STEPS, "steps", rate=0.25, eta_s=32.0, metrics=metrics))
    write_metrics(run, metric_rows()[:4])
    return job


def add_done(home: Home, **changes: Any) -> Job:
    job = add_running(home, **changes)
    run = run_folder(home, job)
    rows = metric_rows()
    write_metrics(run, rows)
    train = [row for row in rows if "loss" in row]
    run.adapter.mkdir()
    summary = TrainingSummary(
        steps=STEPS,
        seconds=48.2,
        first=train[0],
        last=train[-1],
        eval=rows[-1],
        adapter=str(run.adapter),
        peak_memory_gb=2.1,
    )
    run.write_outcome("training", TrainingOutcome(ok=True, reason="", summary=summary))
    with JobTable.open(home.database) as jobs:
        return jobs.transition(job.id, "done", phase_seconds={"training": 48.2})


def add_failed(home: Home, reason: str = "no row of /data/pairs.jsonl can be used", **changes: Any) -> Job:
    job = add_queued(home, **changes)
    run_folder(home, job).write_outcome("precompute", PrecomputeOutcome(ok=False, reason=reason))
    with JobTable.open(home.database) as jobs:
        jobs.transition(job.id, "precomputing")
        return jobs.transition(job.id, "failed", reason, phase_seconds={"precompute": 1.5})


def precompute_outcome() -> PrecomputeOutcome:
    summary = PrecomputeSummary(
        reference="org/small-model",
        fingerprint="3f9a" * 8,
        completions=252,
        duplicates=0,
        cached=40,
        scored=212,
        tokens_scored=31004,
        seconds=31.6,
        data=DataSummary.model_validate(REPORT),
        line="reference: 212 of 252 completions scored",
    )
    return PrecomputeOutcome(ok=True, reason="", summary=summary)


def run_folder(home: Home, job: Job) -> RunDir:
    run = RunDir(home.job(job.id))
    run.root.mkdir(parents=True, exist_ok=True)
    write_json(run.spec, make_spec().model_dump(mode="json"))
    run.log.write_text("loading the model\nscoring 212 completions\ndone\n", encoding="utf-8")
    return run


def draw_samples(home: Home, job: Job, steps: Sequence[int] = (0, 6, 12)) -> None:
    """What the policy of a job answered to one prompt after `steps`, as a worker writes it."""
    start = DrawnAnswer(text="The largest of them is", tokens=128, ended="length")
    for step in steps:
        answer = DrawnAnswer(text=f"Jupiter, after {step}.<|im_end|>", tokens=4, ended="stop") if step else start
        sample = DrawnSample(
            step=step, number=1, place="pairs.jsonl:7", prompt="Which <b>planet</b>?", start=start if step else None,
            answer=answer, seconds=1.25,
        )  # fmt: skip
        run_folder(home, job).samples.append(sample)


def write_metrics(run: RunDir, rows: list[dict[str, Any]]) -> None:
    run.metrics.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_spec(path: Path, model: Path, pairs: Path, **changes: Any) -> Path:
    """A spec file that is valid: a tiny model, real pairs."""
    spec: dict[str, Any] = {
        "model": str(model),
        "data": {"path": str(pairs), "max_length": 128, "validation": 0.0},
        "loss": {"name": "sigmoid"},
        "training": {"iters": 4, "batch_size": 2, "learning_rate": 1e-4},
    }
    path.write_text(json.dumps(spec | changes), encoding="utf-8")
    return path


def invoke(home: Home, *arguments: object, timing: Timing = QUICK_TIMING) -> Result:
    """`prefd --home HOME …` in this process, which looks at things often."""
    return CliRunner().invoke(cli, ["--home", str(home.root), *map(str, arguments)], obj=timing)
