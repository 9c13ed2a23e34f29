"""Tells which references the jobs that wait or run need, without a model: `prefd cache prune` keeps its hands off them.

Rather one too many: a reference that is kept costs disk, one that is lost costs a pass over the data.
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
from prefd.daemon.specs.job_spec import JobSpec


class Waiting(Protocol):
    """A spec file that is no job yet, unless the table knows its `source`."""

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> str | None: ...

    @property
    def specs(self) -> Sequence[JobSpec]:
        """What its jobs will be."""
        ...


class NeededReferences:
    """Called, it tells fingerprint → the jobs that have not ended and need it, or may, each by a name for people.

    `known`: who the references in question are, None for one that cannot be told. They are those of the start: one that
    `prune` has set aside is still among them. `waiting`: lists the spec files that are on their way to the table.
    """

    def __init__(
        self,
        home: Home,
        known: Mapping[str, ReferenceFingerprint | None],
        waiting: Callable[[], Sequence[Waiting]],
    ) -> None:
        self.home = home
        self._known = known
        self._waiting = waiting

    def __call__(self) -> dict[str, list[str]]:
        needed: dict[str, list[str]] = {}
        for job, references in self._list_needs():
            for name in self._known if references is None else references:
                needed.setdefault(name, []).append(job)
        return needed

    def _list_needs(self) -> Iterator[tuple[str, list[str] | None]]:
        """Each job with the references it may need, None for any.

        A spec's way ends in a row of the table, so that is looked at last: none is passed over.
        """
        waiting = self._waiting()
        with JobTable.open_readonly(self.home.database) as table:
            jobs = table.list(*UNENDED)
            needs = [(f"job {job.id}", self._references_of_job(table, job)) for job in jobs]
            recorded = table.sources()
        for file in waiting:
            if file.source not in recorded:
                models = sorted({_reference_model(spec) for spec in file.specs})
                needs += [(f"the spec {file.name}", self._references_of_model(model)) for model in models]
        yield from needs

    def _references_of_job(self, jobs: JobTable, job: Job) -> list[str] | None:
        outcome = RunDir(self.home.job(job.id)).outcome("precompute")
        if outcome is not None and outcome.summary.fingerprint is not None:
            return [outcome.summary.fingerprint]
        try:
            return self._references_of_model(_reference_model(jobs.spec(job.id)))
        except ValueError:  # of another version of prefd
            return None

    def _references_of_model(self, model: str) -> list[str] | None:
        config = _digest_config(Path(model))
        references = [name for name, known in self._known.items() if known is None or _may_be(known, model, config)]
        return references if references or config is not None else None


def _reference_model(spec: JobSpec) -> str:
    return spec.model if spec.reference is None else spec.reference.model


def references_of(cache: ReferenceCache) -> dict[str, ReferenceFingerprint | None]:
    """Every reference in a cache's folder; None for one whose attributes are damaged."""
    return {
        each.folder.name: each.fingerprint if isinstance(each, StoredReference) else None
        for each in stored_references(cache)
    }


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
        return digest_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))
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
            spec, stock = read_frozen_spec(run), read_stock(run)
        except (OSError, ValueError):
            continue  # of another version of prefd
        uses[outcome.summary.fingerprint] = ReferenceUse(job_id, spec, {} if stock is None else stock.commits)
    return uses
