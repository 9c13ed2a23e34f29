"""Keeps the tokenizers and the tokenized pairs of the last few specs, so that a changed beta reads no row again.

They are kept by everything that decides them: the spec's own settings, the day that prompts may show, and the size and time of
change of every file. A hub dataset or model counts as unchanged for as long as the process lives.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.specs.data_files import walk
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.worker.data.prepare import PreparedData
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.models.source import get_policy_source, get_reference_source
from prefd.daemon.worker_tasks.previews import compute_tokens_key
from prefd.plugins.manager import Plugins, load_plugins

MOST_SPECS = 3
"""Specs whose pairs are kept: those that a person goes back and forth between."""

Stamp = tuple[str, int, int]
"""The path of a file, its time of change in ns, and its size."""


@dataclass
class KeptData:
    """KeptData gives a spec's job what an earlier job of the same data has loaded already."""

    home: Home
    _data: OrderedDict[Any, PreparedData] = field(default_factory=OrderedDict)
    _tokenizers: OrderedDict[Any, Any] = field(default_factory=OrderedDict)

    @cached_property
    def plugins(self) -> Plugins:
        """Return the plugins of the home, loaded once. Raises `ConfigError` for a config.toml that cannot be read."""
        settings = HandedSettings.read(self.home)
        return load_plugins(settings.plugin_files, settings.excluded)

    def make_job(self, spec: JobSpec) -> SpecifiedJob:
        """Make the job of `spec`, with its pairs as tokens. Raises what loading a job's data raises."""
        job = SpecifiedJob(self.home, spec.dated())
        vars(job)["plugins"] = self.plugins
        models = (job.spec.model, job.spec.adapter, str(job.spec.reference), *_list_model_stamps(job.spec))
        _lend(job, "tokenizer", self._tokenizers, models)
        _lend(
            job,
            "data",
            self._data,
            (job.loss.unpaired, compute_tokens_key(job.spec), models, *_list_data_stamps(job.spec)),
        )
        return job


def _lend(job: SpecifiedJob, name: str, values: OrderedDict[Any, Any], key: Any) -> None:
    """Give the job the property `name` that is kept under `key`, or have it compute and keep it."""
    if key in values:
        vars(job)[name] = values[key]
    else:
        values[key] = getattr(job, name)
    values.move_to_end(key)
    while len(values) > MOST_SPECS:
        values.popitem(last=False)


def _list_data_stamps(spec: JobSpec) -> Iterator[Stamp]:
    """List the stamp of each file that the job's rows are read from, and of the list of those to leave out."""
    for place in filter(None, (source.local for source in (*spec.data.sources, *spec.data.held_out_sources))):
        with suppress(OSError):  # reading it says what is wrong
            yield from _take_stamps(walk(place) if place.is_dir() else [place])
    if spec.data.exclude is not None:
        yield from _take_stamps([Path(spec.data.exclude)])


def _list_model_stamps(spec: JobSpec) -> Iterator[Stamp]:
    """List the stamp of each file of the models and adapters that lie in folders here."""
    sources = {get_policy_source(spec), get_reference_source(spec)}
    folders = {Path(source.model) for source in sources} | {source.adapter for source in sources if source.adapter}
    for folder in sorted(folders):
        if folder.is_dir():
            yield from _take_stamps(sorted(path for path in folder.iterdir() if path.is_file()))


def _take_stamps(paths: Iterable[Path]) -> Iterator[Stamp]:
    for path in paths:
        with suppress(OSError):
            info = os.stat(path)
            yield str(path), info.st_mtime_ns, info.st_size
