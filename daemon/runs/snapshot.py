"""What a job was claimed with, in `runs/<id>/spec.json`: its spec, the versions and plugins there were, and its data.

A later run is compared with it, and what has changed is said in the job's report. Contents are told by SHA-256, of at
most DIGEST_BYTES in all, so that a claim takes seconds at worst; of what lies beyond, by size and time of change. A hub
dataset is known by its commit, where the hub could be asked, and that is the one the job reads. Training that goes on from
a checkpoint is stricter: there the tokens themselves must be those it began with (worker/training/run.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, ConfigError
from prefd.daemon.machine.files import write_json
from prefd.daemon.runs import hub_commits
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.specs.data_files import walk
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.text.document_model import DocumentModel

DIGEST_BYTES = 4 * 2**30
"""About four seconds' worth."""
MOST_FILES = 10_000
PLUGIN_GROUP = "prefd"
VERSIONS = ("prefd", "mlx", "mlx-lm")


class DataState(DocumentModel):
    """What a data file or a hub dataset was like. Only the fields that tell it are there."""

    bytes: int | None = None
    sha256: str | None = None
    changed_ns: int | None = None
    """When a file that is too large for a digest was changed, in nanoseconds of Unix time."""
    error: str | None = None
    """Why a file cannot be read."""
    revision: str | None = None
    """Of a hub dataset."""
    commit: str | None = None
    """Of a hub dataset, where the hub could be asked."""


@dataclass(frozen=True)
class Stock:
    """What there is besides the spec."""

    versions: Mapping[str, str] = field(default_factory=dict)
    plugins: Mapping[str, str] = field(default_factory=dict)
    """Distribution → version, and file → `sha256:…`."""
    data: Mapping[str, DataState] = field(default_factory=dict)
    """By file or hub id."""

    def to_json(self) -> dict[str, Any]:
        data = {name: state.to_json() for name, state in self.data.items()}
        return {"versions": dict(self.versions), "plugins": dict(self.plugins), "data": data}


def take_stock(home: Home, spec: JobSpec, commits: Mapping[str, str] | None = None) -> Stock:
    """As things are now. Reads the job's data: not for an event loop's own thread. `commits`: as in `data_of`."""
    return Stock(list_versions(), list_plugins(home), read_data_states(spec, commits))


def freeze(home: Home, job_id: int, spec: JobSpec, stock: Stock | None = None, anew: bool = False) -> RunDir:
    """The job's folder with its spec in it, as the worker reads it, and the date of its prompts. The first call decides,
    unless `anew`.
    """
    run = RunDir(home.job(job_id))
    run.root.mkdir(parents=True, exist_ok=True)
    if anew or not run.spec.exists():
        stock = stock or take_stock(home, spec)
        write_json(run.spec, {"spec": spec.dated().model_dump(mode="json", exclude_unset=True), **stock.to_json()})
    return run


def frozen_spec(run: RunDir) -> JobSpec:
    """Of this version's `spec.json` or an earlier one's, which was the spec alone. Raises OSError, ValueError."""
    document = json.loads(run.spec.read_bytes())
    if isinstance(document, dict) and isinstance(document.get("spec"), dict):
        document = document["spec"]
    return JobSpec.model_validate_json(json.dumps(document))


def frozen_stock(run: RunDir) -> Stock | None:
    """None where an earlier version, which took none, has frozen the job, and where this one cannot read it."""
    document = run.read_frozen()
    if document is None or not all(isinstance(document.get(name), dict) for name in ("versions", "plugins", "data")):
        return None
    try:
        data = {name: DataState.model_validate(state) for name, state in document["data"].items()}
    except ValidationError:
        return None
    return Stock(document["versions"], document["plugins"], data)


def list_versions() -> dict[str, str]:
    """Of what decides the numbers; nothing is imported for it."""
    found = {}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def list_plugins(home: Home) -> dict[str, str]:
    """Every distribution with an entry point, and every file that config.toml lists."""
    entries = metadata.entry_points(group=PLUGIN_GROUP)
    found = {entry.dist.name: entry.dist.version for entry in entries if entry.dist and entry.dist.name != "prefd"}
    try:
        files = Config.load(home).plugin_files(home)
    except ConfigError:
        return found
    for path in files:
        try:
            found[str(path)] = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        except OSError as error:
            found[str(path)] = f"cannot be read: {error.strerror or error}"
    return found


def list_commits(stock: Stock) -> dict[str, str]:
    """Hub id → the commit that the job reads."""
    return {name: state.commit for name, state in stock.data.items() if state.commit is not None}


def read_data_states(spec: JobSpec, commits: Mapping[str, str] | None = None) -> dict[str, DataState]:
    """The rows to train on, and those held out where they have a source of their own.

    `commits`: those of hub datasets; the hub is asked where that is None.
    """
    found: dict[str, DataState] = {}
    left = DIGEST_BYTES
    for source in [*spec.data.sources, *spec.data.held_out_sources]:
        if source.local is None:
            if source.path not in found:
                found[source.path] = _hub_dataset(source.path, source.revision, commits)
            continue
        try:
            files = [path for path in _files(source.local) if str(path) not in found]
        except OSError as error:  # the job's worker says what is wrong with it
            found[str(source.local)] = DataState(error=error.strerror or str(error))
            continue
        for path in files:
            found[str(path)] = state = _file(path, left)
            left -= (state.bytes or 0) if state.sha256 is not None else 0
    return found


def _hub_dataset(name: str, revision: str | None, commits: Mapping[str, str] | None) -> DataState:
    commit = hub_commits.find_commit(name, revision) if commits is None else commits.get(name)
    revision = revision or "the newest"
    return DataState(revision=revision, commit=commit) if commit else DataState(revision=revision)


def _file(path: Path, left: int) -> DataState:
    """One file, by its content where that is at most `left` bytes."""
    try:
        info = path.stat()
        if info.st_size > left:
            return DataState(bytes=info.st_size, changed_ns=info.st_mtime_ns)
        return DataState(bytes=info.st_size, sha256=_digest(path, info.st_size, info.st_mtime_ns, info.st_ino))
    except OSError as error:  # the job's worker says what is wrong with it
        return DataState(error=error.strerror or str(error))


def _files(source: Path) -> Iterator[Path]:
    """The file itself; of a folder every data file, whichever split it is of."""
    yield from islice(walk(source), MOST_FILES) if source.is_dir() else [source]


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, changed_ns: int, inode: int) -> str:
    """Once for as long as the file looks the same: a sweep's jobs share their data."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_changes(frozen: Stock, now: Stock) -> list[str]:
    """What is not as it was when the job was claimed, in words."""
    changes_since = []
    for name in sorted(frozen.data.keys() | now.data.keys()):
        before, after = frozen.data.get(name), now.data.get(name)
        if before is None:
            changes_since.append(f"data: {name} was not there when the job was claimed")
        elif after is None or (before.bytes is not None and after.revision is not None):
            changes_since.append(f"data: {name} was there when the job was claimed, and is gone")
        elif before != after:
            changes_since.append(
                f"data: {name} has changed since the job was claimed ({_describe(before)}, now {_describe(after)})"
            )
    for kind, old, new in (("plugin ", frozen.plugins, now.plugins), ("", frozen.versions, now.versions)):
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                was, now_is = (_short(each.get(name, "not installed")) for each in (old, new))
                changes_since.append(f"{kind}{name} was {was} when the job was claimed, and is {now_is}")
    return changes_since


def describe_stock(stock: Stock) -> list[str]:
    """For `prefd show`."""
    described = [f"{name}: {_describe(state)}" for name, state in stock.data.items()][:10]
    described += [f"and {len(stock.data) - 10} more files"] if len(stock.data) > 10 else []
    described += [f"{name} {_short(version)}" for name, version in stock.plugins.items()]
    return [*described, ", ".join(f"{name} {version}" for name, version in stock.versions.items())]


def _describe(state: DataState) -> str:
    if state.revision is not None:
        return f"revision {state.revision}" + (f", commit {state.commit[:12]}" if state.commit is not None else "")
    if state.error is not None:
        return f"cannot be read: {state.error}"
    return f"{state.bytes or 0:,} bytes, " + (
        f"sha256 {state.sha256[:12]}" if state.sha256 else "too large for a digest"
    )


def _short(version: str) -> str:
    return version[: len("sha256:") + 12] if version.startswith("sha256:") else version
