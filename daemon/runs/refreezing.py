"""`freeze_edited` sees to it that a job is run with the spec that it has now, and not with an earlier one that was frozen.

A job's spec is frozen into its folder when it is claimed, and may be edited until the job begins. What was trained from a
frozen spec goes on with it.
"""

from __future__ import annotations

import logging
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.run_identity import RunIdentity, find_stranger
from prefd.daemon.runs.snapshot import freeze, read_frozen_spec
from prefd.daemon.runs.strange_metrics import keep_strange_metrics
from prefd.daemon.specs.job_spec import JobSpec

log = logging.getLogger(__name__)


def freeze_edited(
    home: Home, job_id: int, spec: JobSpec, owner: RunIdentity | None = None, started: bool = True
) -> RunDir:
    """Write the spec into the job's folder, over another one from which nothing was trained yet, and return the folder.

    `started`: whether the job has run before; the metrics in the folder of one that has not are none of its, and are kept
    under another name. Raises as `freeze` does.
    """
    run = RunDir(home.job(job_id))
    if owner is not None and not started and find_stranger(run.root, owner.job) is None:
        set_strange_metrics_aside(run)
    begun = any(run.checkpoints.glob("step-*")) or run.metrics.exists()
    return freeze(home, job_id, spec, anew=not begun and not is_frozen(run, spec), owner=owner)


def set_strange_metrics_aside(run: RunDir) -> None:
    """Rename metrics that were there before their job began, as files copied in are; training would write over them."""
    if not run.metrics.exists() or any(run.checkpoints.glob("step-*")):  # of those the checkpoint says whose they are
        return
    aside = keep_strange_metrics(run.metrics)
    message = "job %s: %s was there before the job began, and is none of its: it is kept as %s"
    log.warning(message, run.root.name, run.metrics, aside.name)


def is_frozen(run: RunDir, spec: JobSpec) -> bool:
    """Return whether the spec in the folder is this one; the date of its prompts was spelt out when it was frozen."""
    try:
        frozen = read_frozen_spec(run)
    except (OSError, ValueError):  # not there, or of another version of prefd: `freeze` keeps that one
        return run.spec.exists()
    return _dump_undated(frozen, spec) == _dump_undated(spec, spec)


def _dump_undated(spec: JobSpec, dated_as: JobSpec) -> dict[str, Any]:
    data = spec.data.model_copy(update={"date": dated_as.data.date})
    return spec.model_copy(update={"data": data}).model_dump(mode="json")
