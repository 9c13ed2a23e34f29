"""What a job was claimed with, in `runs/<id>/spec.json`: its spec, the versions and plugins there were, and its data.

A later run is compared with it, and what has changed is said in the job's report. Contents are told by SHA-256, of at
most DIGEST_BYTES in all, so that a claim takes seconds at worst; of what lies beyond, by size and time of change. A hub
dataset is known by its commit, where the hub could be asked, and that is the one the job reads. Training that goes on from
a checkpoint is stricter: there the tokens themselves must be those it began with (worker/training_run.py).
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

from prefd.daemon import hub
from prefd.daemon.config import Config, ConfigError
from prefd.daemon.datafiles import walk
from prefd.daemon.files import write_json
from prefd.daemon.home import Home
from prefd.daemon.rundir import RunDir
from prefd.daemon.spec import JobSpec

DIGEST_BYTES = 4 * 2**30
"""About four seconds' worth."""
MOST_FILES = 10_000
PLUGIN_GROUP = "prefd"
VERSIONS = ("prefd", "mlx", "mlx-lm")


@dataclass(frozen=True)
class Stock:
    """What there is besides the spec. Every value is JSON."""

    versions: dict[str, str] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)
    """Distribution → version, and file → `sha256:…`."""
    data: dict[str, dict[str, Any]] = field(default_factory=dict)
    """File → {"bytes", "sha256"}, or undigested {"bytes", "changed_ns"}, or {"error"}; hub id → {"revision", "commit"?}."""


def take_stock(home: Home, spec: JobSpec, commits: Mapping[str, str] | None = None) -> Stock:
    """As things are now. Reads the job's data: not for an event loop's own thread. `commits`: as in `data_of`."""
    return Stock(versions(), plugins(home), data_of(spec, commits))


def freeze(home: Home, job_id: int, spec: JobSpec, stock: Stock | None = None, anew: bool = False) -> RunDir:
    """The job's folder with its spec in it, as the worker reads it, and the date of its prompts. The first call decides,
    unless `anew`.
    """
    run = RunDir(home.job(job_id))
    run.root.mkdir(parents=True, exist_ok=True)
    if anew or not run.spec.exists():
        frozen = vars(stock or take_stock(home, spec))
        write_json(run.spec, {"spec": spec.dated().model_dump(mode="json", exclude_unset=True), **frozen})
    return run


def frozen_spec(run: RunDir) -> JobSpec:
    """Of this version's `spec.json` or an earlier one's, which was the spec alone. Raises OSError, ValueError."""
    document = json.loads(run.spec.read_bytes())
    if isinstance(document, dict) and isinstance(document.get("spec"), dict):
        document = document["spec"]
    return JobSpec.model_validate_json(json.dumps(document))


def frozen_stock(run: RunDir) -> Stock | None:
    """None where an earlier version, which took none, has frozen the job."""
    document = run.read_frozen()
    if document is None or not all(isinstance(document.get(name), dict) for name in ("versions", "plugins", "data")):
        return None
    return Stock(document["versions"], document["plugins"], document["data"])


def versions() -> dict[str, str]:
    """Of what decides the numbers; nothing is imported for it."""
    found = {}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def plugins(home: Home) -> dict[str, str]:
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


def commits(stock: Stock) -> dict[str, str]:
    """Hub id → the commit that the job reads."""
    return {name: each["commit"] for name, each in stock.data.items() if "commit" in each}


def data_of(spec: JobSpec, commits: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """The rows to train on, and those held out where they have a source of their own.

    `commits`: those of hub datasets; the hub is asked where that is None.
    """
    found: dict[str, dict[str, Any]] = {}
    left = DIGEST_BYTES
    for source in [*spec.data.sources, *spec.data.held_out_sources]:
        if source.local is None:
            if source.path not in found:
                found[source.path] = _hub_dataset(source.path, source.revision, commits)
            continue
        try:
            files = [path for path in _files(source.local) if str(path) not in found]
        except OSError as error:  # the job's worker says what is wrong with it
            found[str(source.local)] = {"error": error.strerror or str(error)}
            continue
        for path in files:
            found[str(path)] = each = _file(path, left)
            left -= each["bytes"] if "sha256" in each else 0
    return found


def _hub_dataset(name: str, revision: str | None, commits: Mapping[str, str] | None) -> dict[str, Any]:
    commit = hub.commit_of(name, revision) if commits is None else commits.get(name)
    return {"revision": revision or "the newest"} | ({"commit": commit} if commit else {})


def _file(path: Path, left: int) -> dict[str, Any]:
    """One file, by its content where that is at most `left` bytes."""
    try:
        info = path.stat()
        if info.st_size > left:
            return {"bytes": info.st_size, "changed_ns": info.st_mtime_ns}
        return {"bytes": info.st_size, "sha256": _digest(path, info.st_size, info.st_mtime_ns, info.st_ino)}
    except OSError as error:  # the job's worker says what is wrong with it
        return {"error": error.strerror or str(error)}


def _files(source: Path) -> Iterator[Path]:
    """The file itself; of a folder every data file, whichever split it is of."""
    yield from islice(walk(source), MOST_FILES) if source.is_dir() else [source]


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, changed_ns: int, inode: int) -> str:
    """Once for as long as the file looks the same: a sweep's jobs share their data."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def changes(frozen: Stock, now: Stock) -> list[str]:
    """What is not as it was when the job was claimed, in words."""
    said = []
    for name in sorted(frozen.data.keys() | now.data.keys()):
        before, after = frozen.data.get(name), now.data.get(name)
        if before is None:
            said.append(f"data: {name} was not there when the job was claimed")
        elif after is None or ("bytes" in before and "revision" in after):
            said.append(f"data: {name} was there when the job was claimed, and is gone")
        elif before != after:
            said.append(f"data: {name} has changed since the job was claimed ({_shown(before)}, now {_shown(after)})")
    for kind, old, new in (("plugin ", frozen.plugins, now.plugins), ("", frozen.versions, now.versions)):
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                was, now_is = (_short(each.get(name, "not installed")) for each in (old, new))
                said.append(f"{kind}{name} was {was} when the job was claimed, and is {now_is}")
    return said


def lines(stock: Stock) -> list[str]:
    """For `prefd show`."""
    said = [f"{name}: {_shown(each)}" for name, each in stock.data.items()][:10]
    said += [f"and {len(stock.data) - 10} more files"] if len(stock.data) > 10 else []
    said += [f"{name} {_short(version)}" for name, version in stock.plugins.items()]
    return [*said, ", ".join(f"{name} {version}" for name, version in stock.versions.items())]


def _shown(each: Mapping[str, Any]) -> str:
    if "revision" in each:
        return f"revision {each['revision']}" + (f", commit {each['commit'][:12]}" if "commit" in each else "")
    if "error" in each:
        return f"cannot be read: {each['error']}"
    digest = each.get("sha256")
    return f"{each['bytes']:,} bytes, " + (f"sha256 {digest[:12]}" if digest else "too large for a digest")


def _short(version: str) -> str:
    return version[: len("sha256:") + 12] if version.startswith("sha256:") else version
