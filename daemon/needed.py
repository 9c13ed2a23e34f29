"""Which references the jobs that wait or run need, told without a model: what `prefd cache prune` keeps its hands off.

Rather one too many: a reference that is kept costs disk, one that is lost costs a pass over the data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefd.cache.fingerprint import digest_json
from prefd.cache.store import ReferenceCache
from prefd.cache.stored import StoredReference, reference_folders, whole_references
from prefd.daemon.home import Home
from prefd.daemon.jobs import ENDED, STATES, Job, JobTable
from prefd.daemon.rundir import RunDir
from prefd.daemon.spec import JobSpec
from prefd.daemon.worker.sources import VOLATILE_CONFIG


def needed_references(home: Home, cache: ReferenceCache) -> dict[str, list[int]]:
    """Fingerprint → the jobs that have not ended and need it, or may."""
    references = whole_references(cache)
    needed: dict[str, list[int]] = {}
    with JobTable.open_readonly(home.database) as jobs:
        for job in jobs.list(*(state for state in STATES if state not in ENDED)):
            found = _of_job(home, jobs, job, references)
            everything = [folder.name for folder in reference_folders(cache)]
            for name in everything if found is None else found:
                needed.setdefault(name, []).append(job.id)
    return needed


def _of_job(home: Home, jobs: JobTable, job: Job, references: Sequence[StoredReference]) -> list[str] | None:
    """None where it cannot be told: then it may be any."""
    outcome = RunDir(home.job(job.id)).outcome("precompute")
    if outcome is not None and "fingerprint" in outcome.summary:
        return [str(outcome.summary["fingerprint"])]
    try:
        spec = jobs.spec(job.id)
    except ValueError:
        return None
    model = spec.model if spec.reference is None else spec.reference.model
    config = _digest_config(Path(model))
    found = [each.name for each in references if _may_be(each, model, config)]
    return found if found or config is not None else None


def _may_be(reference: StoredReference, model: str, config: str | None) -> bool:
    """By the name it was first scored under, or, as that may be another copy, by the model's configuration."""
    fingerprint = reference.fingerprint
    return fingerprint.provenance.get("model") == model or (
        config is not None and fingerprint.identity.get("config") == config
    )


def _digest_config(folder: Path) -> str | None:
    """As a reference's identity has it; None for what is no folder here, such as a hub id."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return digest_json({name: value for name, value in config.items() if name not in VOLATILE_CONFIG})
    except (OSError, ValueError, AttributeError):
        return None


def newest_specs(home: Home) -> dict[str, tuple[int, JobSpec]]:
    """Fingerprint → the newest job that used that reference, with its spec."""
    found: dict[str, tuple[int, JobSpec]] = {}
    ids = sorted(int(folder.name) for folder in home.runs.glob("*") if folder.name.isdecimal())
    for job_id in ids:
        run = RunDir(home.job(job_id))
        outcome = run.outcome("precompute")
        if outcome is None or not outcome.ok or "fingerprint" not in outcome.summary:
            continue
        try:
            found[outcome.summary["fingerprint"]] = (job_id, JobSpec.model_validate_json(run.spec.read_bytes()))
        except (OSError, ValueError):
            continue  # of another version of prefd
    return found
