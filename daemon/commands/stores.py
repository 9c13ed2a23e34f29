"""The cache on this disk as the upkeep commands take it, and the references in it by the start of a fingerprint."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prefd.daemon import render
from prefd.daemon.commands.common import require_home
from prefd.daemon.commands.errors import Exit, Failure
from prefd.daemon.home import Home

if TYPE_CHECKING:
    from prefd.cache.store import ReferenceCache

SHORT = 12  # of a fingerprint's 32 hexadecimal digits: what is printed; any start that names one is accepted


def find_cache(home: Home) -> ReferenceCache | None:
    """None where there is none yet; then that has been said."""
    from prefd.cache.store import ReferenceCache

    require_home(home)
    if not (home.cache / "zarr.json").exists():
        render.note(f"the cache is empty: {home.cache}")
        return None  # open() would make a cache; looking after one makes nothing
    return ReferenceCache.open(home.cache)


def pick(cache: ReferenceCache, prefixes: Sequence[str]) -> list[str]:
    """The fingerprints that start with any of `prefixes`, damaged references too; all of them where none is given."""
    from prefd.cache.stored import reference_folders

    names = [folder.name for folder in reference_folders(cache)]
    for prefix in prefixes:
        if not any(name.startswith(prefix.lower()) for name in names):
            raise Failure(f"no reference's fingerprint starts with {prefix!r}\nsee `prefd cache ls`", Exit.NOT_FOUND)
    starts = tuple(prefix.lower() for prefix in prefixes) or ("",)
    return [name for name in names if name.startswith(starts)]


def ask_worker(home: Home, task: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """A worker's answer, where it takes a model or a tokenizer. Raises `Failure` with what it said."""
    from prefd.daemon.process import WORKER

    command = [*WORKER, task, "--home", str(home.root)]
    child = subprocess.run(command, input=json.dumps(document), capture_output=True, text=True, check=False)
    if child.returncode != 0:
        said = [line for line in child.stderr.splitlines() if line.strip()]
        raise Failure(said[-1] if said else f"the worker ended with exit code {child.returncode}")
    answer: dict[str, Any] = json.loads(child.stdout)
    return answer
