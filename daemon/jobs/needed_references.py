"""NeededReferences lists the references that waiting and running jobs need, so that `prefd cache prune` keeps them.

It loads no model. In doubt a reference counts as needed: one that is kept costs disk, one that is lost costs a pass over
the data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from prefd.cache.fingerprint import ReferenceFingerprint, digest_config
from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep.stored_reference import StoredReference, stored_references
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import UNENDED
from prefd.daemon.jobs.table import Job, JobTable
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.snapshot import read_frozen_spec, read_stock
from prefd.daemon.runs.used_reference import read_used_reference
from prefd.daemon.specs.job_spec import JobSpec


class WaitingFile(Protocol):
    """WaitingFile is a spec file that is no job yet, unless the table knows its `source`."""

    @property
    def name(self) -> str:
        """Return the file's name as it was dropped."""
        ...

    @property
    def source(self) -> str | None:
        """Return the file's name in the job table; None before it is claimed."""
        ...

    @property
    def specs(self) -> Sequence[JobSpec]:
        """Return the specs of the jobs that the file will become."""
        ...


class NeededReferences:
    """Maps the fingerprint of each reference to the jobs that have not ended and may need it, each by a readable name.

    `references`: the references in question by fingerprint, None for one whose attributes cannot be read. They are those
    of the start: one that `prune` has set aside is still among them. `waiting`: lists the spec files that are on their way
    to the table.
    """

    def __init__(
        self,
        home: Home,
        references: Mapping[str, ReferenceFingerprint | None],
        waiting: Callable[[], Sequence[WaitingFile]],
    ) -> None:
        self.home = home
        self._references = references
        self._waiting = waiting

    def __call__(self) -> dict[str, list[str]]:
        """Read the table and the waiting specs now. Raises JobTableError."""
        users: dict[str, list[str]] = {}
        for job, fingerprints in self._list_needs():
            for name in self._references if fingerprints is None else fingerprints:
                users.setdefault(name, []).append(job)
        return users

    def _list_needs(self) -> Iterator[tuple[str, list[str] | None]]:
        """Yield each job with the references it may need, None for any.

        A waiting spec ends up as a row of the table, so the table is read last: no spec is missed.
        """
        waiting = self._waiting()
        with JobTable.open_readonly(self.home.database) as table:
            jobs = table.list(*UNENDED)
            needs = [(f"job {job.id}", self._find_for_job(table, job)) for job in jobs]
            recorded = table.sources()
        for file in waiting:
            if file.source not in recorded:
                models = sorted({_reference_model(spec) for spec in file.specs})
                needs += [(f"the spec {file.name}", self._find_for_model(model)) for model in models]
        yield from needs

    def _find_for_job(self, jobs: JobTable, job: Job) -> list[str] | None:
        if (used := read_used_reference(RunDir(self.home.job(job.id)))) is not None:
            return [used.fingerprint]
        spec = jobs.find_spec(job.id)
        return None if spec is None else self._find_for_model(_reference_model(spec))

    def _find_for_model(self, model: str) -> list[str] | None:
        config = _digest_config(Path(model))
        fingerprints = [
            name
            for name, reference in self._references.items()
            if reference is None or _may_be_of(reference, model, config)
        ]
        return fingerprints if fingerprints or config is not None else None


def _reference_model(spec: JobSpec) -> str:
    return spec.model if spec.named_reference is None else spec.named_reference.model


def list_references(cache: ReferenceCache) -> dict[str, ReferenceFingerprint | None]:
    """Return every reference in a cache's folder by fingerprint; None for one whose attributes are damaged."""
    return {
        each.folder.name: each.fingerprint if isinstance(each, StoredReference) else None
        for each in stored_references(cache)
    }


def _may_be_of(reference: ReferenceFingerprint, model: str, config: str | None) -> bool:
    """Decide by the model's configuration, or by its name where the configuration cannot be read.

    A hub model may first have been scored from a folder, so any reference that was matches it.
    """
    if config is not None:
        return reference.identity.get("config") == config
    model_name = str(reference.provenance.get("model"))
    return model_name == model or Path(model_name).is_absolute()


def _digest_config(folder: Path) -> str | None:
    """Return the digest of a model's configuration, as in a reference's identity; None for a hub id or no such folder."""
    try:
        return digest_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return None


@dataclass(frozen=True)
class ReferenceUse:
    """ReferenceUse is a job that used a reference: its id, its spec, and the commits of the hub datasets that it read."""

    job_id: int
    spec: JobSpec
    commits: Mapping[str, str]


def list_newest_uses(home: Home) -> dict[str, ReferenceUse]:
    """Map the fingerprint of each reference to the newest job that used it."""
    uses: dict[str, ReferenceUse] = {}
    ids = sorted(int(folder.name) for folder in home.runs.glob("*") if folder.name.isdecimal())
    for job_id in ids:
        run = RunDir(home.job(job_id))
        used, precompute = read_used_reference(run), run.outcome("precompute")
        if used is None or (precompute is not None and not precompute.ok):
            continue
        try:
            spec, stock = read_frozen_spec(run), read_stock(run)
        except (OSError, ValueError):
            continue  # of another version of prefd
        uses[used.fingerprint] = ReferenceUse(job_id, spec, {} if stock is None else stock.commits)
    return uses
