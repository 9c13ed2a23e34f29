"""Gives both phases of a job what they need before any model is loaded: tokenizer, pairs as tokens, keys, the reference."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.reference import Reference
from prefd.cache.store import ReferenceCache
from prefd.daemon.home.cache import open_cache
from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.run_identity import read_frozen_identity, read_identities
from prefd.daemon.runs.snapshot import Stock, describe_changes, read_frozen_spec, read_stock, take_stock
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.data.prepare import PreparedData, prepare
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.adapter_base import describe_adapter
from prefd.daemon.worker.models.identity import identify
from prefd.daemon.worker.models.lookup_tables import check_tables
from prefd.daemon.worker.models.source import ModelSource, get_policy_source, get_reference_source
from prefd.daemon.worker.objective import Objective
from prefd.plugins.manager import Plugins, load_plugins

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpecifiedJob:
    """SpecifiedJob is what a spec asks for, whether or not it is a job of the queue. Everything is computed once, on first use."""

    home: Home
    spec: JobSpec
    commits: Mapping[str, str] = field(default_factory=dict)
    """Hub dataset → the commit that is read, where the job was claimed with one."""

    @cached_property
    def plugins(self) -> Plugins:
        """Return the plugins of the home, those that failed too. Raises `ConfigError` for a config.toml that cannot be read."""
        settings = HandedSettings.read(self.home)
        return load_plugins(settings.plugin_files, settings.excluded)

    @cached_property
    def parallel(self) -> int:
        """Return how many jobs share the machine's memory. Raises `ConfigError` for a config.toml that cannot be read."""
        return HandedSettings.read(self.home).parallel

    @cached_property
    def settings(self) -> HandedSettings:
        """Return what the worker runs with. Raises `ConfigError` for a config.toml that cannot be read."""
        return HandedSettings.read(self.home)

    @cached_property
    def loss(self) -> Objective:
        """Say what the spec minimises. Raises `JobError` for an unknown loss, `LossParameterError` for parameters it lacks."""
        return Objective.from_spec(self.spec, self.plugins)

    @cached_property
    def policy(self) -> ModelSource:
        """Return the model, with its adapter, that the policy starts as."""
        return get_policy_source(self.spec)

    @cached_property
    def reference(self) -> ModelSource:
        """Return the model, with its adapter, that the policy is compared with."""
        return get_reference_source(self.spec)

    @cached_property
    def tokenizer(self) -> Any:
        """Return the policy's tokenizer. Raises `JobError` where it cannot be loaded, or where the reference's has other tokens."""
        tokenizer = loading.tokenizer(self.policy)
        if self.reference.model != self.policy.model:
            loading.check_same_vocabulary(self.policy, tokenizer, self.reference)
        return tokenizer

    @cached_property
    def data(self) -> PreparedData:
        """Return the pairs as tokens.

        Raises `DataError` where nothing can be trained on, `JobError` where the policy or the reference lacks a token or a
        position of theirs.
        """
        data = prepare(self.spec.data, self.tokenizer, self.plugins.formats, self.commits, self.loss.unpaired)
        data = data.with_notes([*self._check_tables(data, local_only=True), *self._describe_adapters()])
        for line in data.report.lines():
            log.info("%s", line)
        return data

    def _describe_adapters(self) -> list[str]:
        sources = {source.adapter: source for source in (self.reference, self.policy)}
        return [note for source in sources.values() for note in describe_adapter(source)]

    def _check_tables(self, data: PreparedData, local_only: bool) -> list[str]:
        sources = {source.model: source for source in (self.reference, self.policy)}
        return check_tables(data, sources.values(), self.tokenizer, self.spec.data.max_length, local_only)

    def check_tables(self) -> None:
        """Check that the models have every token and position of the pairs, or raise `JobError`; weights are downloaded."""
        self._check_tables(self.data, local_only=False)

    @property
    def examples(self) -> list[Example]:
        """Return the training pairs and the held-out ones."""
        return [*self.data.train, *self.data.held_out]

    @cached_property
    def cache(self) -> ReferenceCache:
        """Return the reference cache of the home."""
        return open_cache(self.home)

    def identify(self, source: ModelSource) -> ReferenceFingerprint:
        """Make the fingerprint of `source` as a reference on this device. Raises `JobError` and `BadWeights`."""
        memo = ReferenceCache(self.home.cache).memo
        return identify(source, loading.compute_dtype(source), loading.device(), memo)

    @cached_property
    def fingerprint(self) -> ReferenceFingerprint:
        """Return the fingerprint of the job's reference."""
        return self.identify(self.reference)

    @cached_property
    def store(self) -> Reference:
        """Return the reference's entries in the cache."""
        return self.cache.reference(self.fingerprint)

    def key(self, completion: Completion) -> bytes:
        """Return the key (32 bytes) under which the cache has the reference's numbers of `completion`."""
        return self.fingerprint.key(completion.ids, completion.start)

    @property
    def starts_as_reference(self) -> bool:
        """Say whether the policy's first forward pass must give the reference's numbers."""
        return self.identify(self.policy).sha256 == self.fingerprint.sha256


@dataclass(frozen=True, kw_only=True)
class RunningJob(SpecifiedJob):
    """RunningJob is a job of the queue in one of its phases, with the folder that its worker writes to."""

    run: RunDir
    stock: Stock | None
    """What the job was claimed with besides its spec; None where an earlier version claimed it."""
    is_of_earlier_version: bool = True
    """Whether its spec was frozen by a version that gave jobs no ULID, so that its checkpoints may have none."""

    @classmethod
    def load(cls, home: Home, job_id: int) -> RunningJob:
        """Load the job as it was frozen when it was claimed. Raises OSError and ValueError where there is no spec."""
        folder = home.job(job_id)
        identity = read_frozen_identity(folder)
        ulid = identity.job if identity else next((each.job for each in read_identities(folder)), "")
        run = RunDir(folder, ulid)
        stock = read_stock(run)
        commits = {} if stock is None else stock.commits
        return cls(home, read_frozen_spec(run), commits, run=run, stock=stock, is_of_earlier_version=identity is None)

    def load_again(self) -> RunningJob:
        """Load the job for its next phase, with the plugins, the tokenizer and the pairs that this phase has read.

        All else is looked at anew: the models, the cache, and what has changed since the job was claimed. Where that is not what
        this phase found, the next one reads everything itself.
        """
        following = RunningJob.load(self.home, int(self.run.root.name))
        if (following.spec, following.stock, following.changes) == (self.spec, self.stock, self.changes):
            following.__dict__.update(
                {name: self.__dict__[name] for name in ("plugins", "tokenizer", "data") if name in self.__dict__}
            )
        return following

    @cached_property
    def changes(self) -> list[str]:
        """Say what is not as it was when the job was claimed, in words."""
        if self.stock is None:
            return []
        return describe_changes(self.stock, take_stock(self.home, self.spec, self.commits))
