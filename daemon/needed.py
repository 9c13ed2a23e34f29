"""Which references the jobs that wait or run need, told without a model: what `prefd cache prune` keeps its hands off.

Rather one too many: a reference that is kept costs disk, one that is lost costs a pass over the data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefd.cache.fingerprint import ReferenceFingerprint, digest_json
from prefd.cache.store import ReferenceCache
from prefd.cache.stored import StoredReference, stored_references
from prefd.daemon.frozen import commits, frozen_spec, frozen_stock
from prefd.daemon.home import Home
from prefd.daemon.inbox import ULID_LENGTH
from prefd.daemon.jobs import ENDED, STATES, Job, JobTable
from prefd.daemon.parse import MAX_BYTES
from prefd.daemon.rundir import RunDir
from prefd.daemon.spec import JobSpec
from prefd.daemon.specfile import SUFFIXES, SpecError, read_specs
from prefd.daemon.worker.sources import VOLATILE_CONFIG


class NeededReferences:
    """Called, it tells fingerprint → the jobs that have not ended and need it, or may, each by a name for people.

    `known`: who the references in question are, None for one that cannot be told. They are those of the start: one that
    `prune` has set aside is still among them.
    """

    def __init__(self, home: Home, known: Mapping[str, ReferenceFingerprint | None]) -> None:
        self.home = home
        self._known = known

    def __call__(self) -> dict[str, list[str]]:
        needed: dict[str, list[str]] = {}
        for job, found in self._found():
            for name in self._known if found is None else found:
                needed.setdefault(name, []).append(job)
        return needed

    def _found(self) -> Iterator[tuple[str, list[str] | None]]:
        """Each job with the references it may need, None for any.

        A spec's way is from `jobs/` to `accepted/` to a row of the table: looked at in that order, none is passed over.
        """
        dropped = [(path, path.name) for path in _files(self.home.jobs)]
        claimed = [(path, path.name[ULID_LENGTH + 1 :]) for path in _files(self.home.accepted)]
        with JobTable.open_readonly(self.home.database) as table:
            jobs = table.list(*(state for state in STATES if state not in ENDED))
            found = [(f"job {job.id}", self._of_job(table, job)) for job in jobs]
            recorded = table.sources()
        for path, name in dropped + [each for each in claimed if each[0].name not in recorded]:
            models = sorted({_reference_model(spec) for spec in self._waiting(path, name)})
            found += [(f"the spec {name}", self._of_model(model)) for model in models]
        yield from found

    def _waiting(self, path: Path, name: str) -> list[JobSpec]:
        """What a file that no daemon has read yet asks for, several jobs of a sweep; nothing of what will be no job."""
        try:
            with path.open("rb") as file:
                return [spec.resolved(self.home.jobs) for spec in read_specs(file.read(MAX_BYTES + 1), name).specs]
        except (OSError, SpecError, RuntimeError, ValueError):
            return []

    def _of_job(self, jobs: JobTable, job: Job) -> list[str] | None:
        outcome = RunDir(self.home.job(job.id)).outcome("precompute")
        if outcome is not None and outcome.summary.fingerprint is not None:
            return [outcome.summary.fingerprint]
        try:
            return self._of_model(_reference_model(jobs.spec(job.id)))
        except ValueError:  # of another version of prefd
            return None

    def _of_model(self, model: str) -> list[str] | None:
        config = _digest_config(Path(model))
        found = [name for name, who in self._known.items() if who is None or _may_be(who, model, config)]
        return found if found or config is not None else None


def _reference_model(spec: JobSpec) -> str:
    return spec.model if spec.reference is None else spec.reference.model


def references_of(cache: ReferenceCache) -> dict[str, ReferenceFingerprint | None]:
    """Every reference in a cache's folder; None for one whose attributes are damaged."""
    return {
        each.folder.name: each.fingerprint if isinstance(each, StoredReference) else None
        for each in stored_references(cache)
    }


def _files(folder: Path) -> list[Path]:
    """Plain files that may be specs."""
    found = (each for each in folder.glob("*") if each.suffix.lower() in SUFFIXES and not each.name.startswith("."))
    return sorted(each for each in found if each.is_file() and not each.is_symlink())


def _may_be(reference: ReferenceFingerprint, model: str, config: str | None) -> bool:
    """By the model's configuration; by the name it was first scored under where that is not here to be read.

    A hub id's files may have been scored as a folder first, whose name tells nothing.
    """
    if config is not None:
        return reference.identity.get("config") == config
    named = str(reference.provenance.get("model"))
    return named == model or Path(named).is_absolute()


def _digest_config(folder: Path) -> str | None:
    """As a reference's identity has it; None for what is no folder here, such as a hub id."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return digest_json({name: value for name, value in config.items() if name not in VOLATILE_CONFIG})
    except (OSError, ValueError, AttributeError):
        return None


@dataclass(frozen=True)
class ReferenceUse:
    """A job that used a reference: its id, its spec, and the commits of the hub datasets that it read."""

    job_id: int
    spec: JobSpec
    commits: Mapping[str, str]


def newest_uses(home: Home) -> dict[str, ReferenceUse]:
    """Fingerprint → the newest job that used that reference."""
    uses: dict[str, ReferenceUse] = {}
    ids = sorted(int(folder.name) for folder in home.runs.glob("*") if folder.name.isdecimal())
    for job_id in ids:
        run = RunDir(home.job(job_id))
        outcome = run.outcome("precompute")
        if outcome is None or not outcome.ok or outcome.summary.fingerprint is None:
            continue
        try:
            spec, stock = frozen_spec(run), frozen_stock(run)
        except (OSError, ValueError):
            continue  # of another version of prefd
        uses[outcome.summary.fingerprint] = ReferenceUse(job_id, spec, {} if stock is None else commits(stock))
    return uses
