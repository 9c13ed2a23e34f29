"""`freeze` writes down what a job was claimed with, in `runs/<id>/spec.json`: its spec, versions, plugins and data.

A later run is compared with it, and the job's report lists the changes. Files are compared by SHA-256, of at most
DIGEST_BYTES in all, so that a claim takes seconds at worst; files beyond that by size and time of change. A hub dataset is
compared by its commit, where the hub could be asked, and that is the one the job reads. Training that goes on from a
checkpoint is stricter: there the tokens themselves must be those it began with.
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

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home, refuse_dangling
from prefd.daemon.home.settings import ConfigError
from prefd.daemon.machine.files import write_json
from prefd.daemon.runs import hub_commits
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.run_identity import RunIdentity, require_own_folder
from prefd.daemon.specs.data_files import walk
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.text.document_model import DocumentModel

DIGEST_BYTES = 4 * 2**30
"""About four seconds' worth."""
MOST_FILES = 10_000
PLUGIN_GROUP = "prefd"
VERSIONS = ("prefd", "mlx", "mlx-lm")


class DataState(DocumentModel):
    """DataState is the state of a data file or a hub dataset. Only the fields that apply are set."""

    bytes: int | None = None
    sha256: str | None = None
    changed_ns: int | None = None
    """When a file that is too large for a digest was changed, in nanoseconds of Unix time."""
    error: str | None = None
    """Why a file cannot be read."""
    revision: str | None = None
    """The revision of a hub dataset that the spec names."""
    commit: str | None = None
    """The commit of a hub dataset, where the hub could be asked."""


@dataclass(frozen=True)
class Stock:
    """Stock holds the versions, plugins and data that a job is run with, besides its spec."""

    versions: Mapping[str, str] = field(default_factory=dict)
    plugins: Mapping[str, str] = field(default_factory=dict)
    """Distribution → version, and file → `sha256:…`."""
    data: Mapping[str, DataState] = field(default_factory=dict)
    """The state of the data, by file or hub id."""

    @property
    def commits(self) -> dict[str, str]:
        """Return which commit of each hub dataset the job reads, by hub id."""
        return {name: state.commit for name, state in self.data.items() if state.commit is not None}

    def to_json(self) -> dict[str, Any]:
        """Return the stock as spec.json holds it."""
        data = {name: state.to_json() for name, state in self.data.items()}
        return {"versions": dict(self.versions), "plugins": dict(self.plugins), "data": data}


def take_stock(home: Home, spec: JobSpec, commits: Mapping[str, str] | None = None) -> Stock:
    """Take stock of things as they are now. It reads the job's data, so an event loop does not call it in its own thread.

    `commits`: as in `examine_data`.
    """
    return Stock(list_versions(), list_plugins(home), examine_data(spec, commits))


def freeze(
    home: Home,
    job_id: int,
    spec: JobSpec,
    stock: Stock | None = None,
    anew: bool = False,
    owner: RunIdentity | None = None,
) -> RunDir:
    """Write the spec into the job's folder, as its worker reads it, with the date of its prompts, and return the folder.

    A spec that is there stays, unless `anew`. `owner`: the job, whose own folder it must be. Raises ForeignFolder, and
    HomeUnusable where `runs/` is on a drive that is not mounted.
    """
    refuse_dangling(home.runs)
    run = RunDir(home.job(job_id), owner.job if owner else "")
    home.runs.mkdir(exist_ok=True)
    run.root.mkdir(exist_ok=True)
    if owner is not None:
        require_own_folder(run.root, owner)
    if anew or not run.spec.exists():
        stock = stock or take_stock(home, spec)
        identity = {"identity": owner.to_json()} if owner else {}
        frozen = spec.dated().model_dump(mode="json", exclude_unset=True)
        write_json(run.spec, {"spec": frozen, **stock.to_json(), **identity})
    return run


def read_frozen_spec(run: RunDir) -> JobSpec:
    """Read the spec in this version's `spec.json` or an earlier one's, which was the spec alone. Raises OSError, ValueError."""
    document = json.loads(run.spec.read_bytes())
    if isinstance(document, dict) and isinstance(document.get("spec"), dict):
        document = document["spec"]
    return JobSpec.model_validate_json(json.dumps(document))


def read_stock(run: RunDir) -> Stock | None:
    """Read the stock in `spec.json`; None where an earlier version took none, and where this one cannot read it."""
    document = run.read_frozen()
    if document is None or not all(isinstance(document.get(name), dict) for name in ("versions", "plugins", "data")):
        return None
    try:
        data = {name: DataState.model_validate(state) for name, state in document["data"].items()}
    except ValidationError:
        return None
    return Stock(document["versions"], document["plugins"], data)


def list_versions() -> dict[str, str]:
    """List the versions of the packages that decide a job's numbers, without importing them."""
    versions = {}
    for name in VERSIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def list_plugins(home: Home) -> dict[str, str]:
    """List the version of every distribution with an entry point, and the digest of every file that config.toml lists."""
    entries = metadata.entry_points(group=PLUGIN_GROUP)
    plugins = {entry.dist.name: entry.dist.version for entry in entries if entry.dist and entry.dist.name != "prefd"}
    try:
        files = HandedSettings.read(home).plugin_files
    except ConfigError:
        return plugins
    for path in files:
        try:
            plugins[str(path)] = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        except OSError as error:
            plugins[str(path)] = f"cannot be read: {error.strerror or error}"
    return plugins


def examine_data(
    spec: JobSpec, commits: Mapping[str, str] | None = None, budget: int = DIGEST_BYTES
) -> dict[str, DataState]:
    """Return the state of the job's data files and hub datasets, by name: of held-out pairs, the list of pairs to leave out and a file of prompts too.

    `commits`: the commits of hub datasets; the hub is asked where that is None. `budget`: the bytes that are digested at most.
    """
    states: dict[str, DataState] = {}
    for source in [*spec.data.sources, *spec.data.held_out_sources]:
        if source.local is None:
            if source.path not in states:
                states[source.path] = _examine_hub_dataset(source.path, source.revision, commits)
            continue
        try:
            files = [path for path in _list_files(source.local) if str(path) not in states]
        except OSError as error:  # the job's worker says what is wrong with it
            states[str(source.local)] = DataState(error=error.strerror or str(error))
            continue
        for path in files:
            states[str(path)] = state = _examine_file(path, budget)
            budget -= (state.bytes or 0) if state.sha256 is not None else 0
    for name in filter(None, (spec.data.exclude, spec.prompts_file)):
        states[name] = _examine_file(Path(name), budget)
    return states


def _examine_hub_dataset(name: str, revision: str | None, commits: Mapping[str, str] | None) -> DataState:
    commit = hub_commits.find_commit(name, revision) if commits is None else commits.get(name)
    revision = revision or "the newest"
    return DataState(revision=revision, commit=commit) if commit else DataState(revision=revision)


def _examine_file(path: Path, budget: int) -> DataState:
    """Return the state of one file, with a digest of its content where that is at most `budget` bytes."""
    try:
        info = path.stat()
        if info.st_size > budget:
            return DataState(bytes=info.st_size, changed_ns=info.st_mtime_ns)
        return DataState(bytes=info.st_size, sha256=_digest(path, info.st_size, info.st_mtime_ns, info.st_ino))
    except OSError as error:  # the job's worker reports it
        return DataState(error=error.strerror or str(error))


def _list_files(source: Path) -> Iterator[Path]:
    """Yield the file itself, or every data file of a folder, of any split."""
    yield from islice(walk(source), MOST_FILES) if source.is_dir() else [source]


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, changed_ns: int, inode: int) -> str:
    """Return the SHA-256 of a file, computed once for as long as the file looks the same: a sweep's jobs share their data."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_changes(frozen: Stock, now: Stock) -> list[str]:
    """List what has changed since the job was claimed, a line each."""
    changes = []
    for name in sorted(frozen.data.keys() | now.data.keys()):
        before, after = frozen.data.get(name), now.data.get(name)
        if before is None:
            changes.append(f"data: {name} was not there when the job was claimed")
        elif after is None or (before.bytes is not None and after.revision is not None):
            changes.append(f"data: {name} was there when the job was claimed, and is gone")
        elif before != after:
            changes.append(
                f"data: {name} has changed since the job was claimed ({_describe_state(before)}, now {_describe_state(after)})"
            )
    for kind, old, new in (("plugin ", frozen.plugins, now.plugins), ("", frozen.versions, now.versions)):
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                was, now_is = (_shorten(each.get(name, "not installed")) for each in (old, new))
                changes.append(f"{kind}{name} was {was} when the job was claimed, and is {now_is}")
    return changes


def describe_stock(stock: Stock) -> list[str]:
    """Describe the stock that a job was claimed with, a line each, as `prefd show` prints it."""
    lines = [f"{name}: {_describe_state(state)}" for name, state in stock.data.items()][:10]
    lines += [f"and {len(stock.data) - 10} more files"] if len(stock.data) > 10 else []
    lines += [f"{name} {_shorten(version)}" for name, version in stock.plugins.items()]
    return [*lines, ", ".join(f"{name} {version}" for name, version in stock.versions.items())]


def _describe_state(state: DataState) -> str:
    if state.revision is not None:
        return f"revision {state.revision}" + (f", commit {state.commit[:12]}" if state.commit is not None else "")
    if state.error is not None:
        return f"cannot be read: {state.error}"
    return f"{state.bytes or 0:,} bytes, " + (
        f"sha256 {state.sha256[:12]}" if state.sha256 else "too large for a digest"
    )


def _shorten(version: str) -> str:
    return version[: len("sha256:") + 12] if version.startswith("sha256:") else version
