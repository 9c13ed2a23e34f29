"""Opens the cache on this disk for the upkeep commands, and finds the references in it by the start of a fingerprint."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.options import require_home
from prefd.daemon.home.layout import Home
from prefd.daemon.terminal import render

if TYPE_CHECKING:
    from prefd.cache.shared.cache import SharedCache
    from prefd.cache.store import ReferenceCache
    from prefd.daemon.text.document_model import DocumentModel
    from prefd.daemon.worker_tasks.inputs import WorkerInput

Answer = TypeVar("Answer", bound="DocumentModel")
SHORT = 12  # of a fingerprint's 32 hexadecimal digits: what is printed; any start that names one is accepted


def find_cache(home: Home) -> ReferenceCache | None:
    """Opens the cache in the home; None where there is none yet. Prints which cache it is where that may surprise."""
    from prefd.daemon.home.cache import open_own_folder
    from prefd.daemon.home.settings import Config

    require_home(home)
    if not home.has_cache:
        render.print_note(f"the cache is empty: {home.cache}")
        return None  # open() would make a cache; looking after one makes nothing
    cache = open_own_folder(home)
    if cache.mirror:
        render.print_note(f"this is about {home.cache}, the mirror of {Config.load(home).cache_url}")
    return cache


def require_shared(home: Home) -> SharedCache:
    """Opens the shared cache for `--shared`. Raises `Failure` in a home that shares nothing."""
    from prefd.daemon.home.cache import open_shared

    cache = open_shared(require_home(home))
    if cache is None:
        raise Failure(f"this home shares no cache: there is no cache_url in {home.config}", Exit.USAGE)
    render.print_note(f"this is about {cache.bucket.url}, and not its mirror {home.cache}")
    return cache


def pick_references(cache: ReferenceCache, prefixes: Sequence[str]) -> list[str]:
    """Lists the fingerprints that start with any of `prefixes`, damaged references too; all of them without prefixes."""
    from prefd.cache.upkeep.stored_reference import reference_folders

    return filter_fingerprints([folder.name for folder in reference_folders(cache)], prefixes)


def filter_fingerprints(names: Sequence[str], prefixes: Sequence[str]) -> list[str]:
    """Selects the names that start with any of `prefixes`; all without prefixes. Raises `Failure` for a prefix of none."""
    for prefix in prefixes:
        if not any(name.startswith(prefix.lower()) for name in names):
            raise Failure(f"no reference's fingerprint starts with {prefix!r}\nsee `prefd cache ls`", Exit.NOT_FOUND)
    starts = tuple(prefix.lower() for prefix in prefixes) or ("",)
    return [name for name in names if name.startswith(starts)]


def _explain_failure(child: subprocess.CompletedProcess[str], step: str) -> str:
    """Returns a worker's own words, all their lines, or how it ended where it came to say none."""
    from prefd.daemon.machine.processes import describe_exit, find_last_words

    try:
        return str(json.loads(child.stdout)["error"])
    except (ValueError, KeyError, TypeError):
        doing = f" while {step}" if step else ""
        if child.returncode > 0 and (words := find_last_words(child.stderr)):
            return words
        return f"the worker ended with {describe_exit(child.returncode)}{doing}"


def ask_worker(
    home: Home, task: str, request: WorkerInput, answer: type[Answer], seconds: float | None = None, step: str = ""
) -> Answer:
    """Asks a worker for what takes a model, a tokenizer or a plugin; plugins that cannot be loaded are left out.

    Raises `Failure` with what the worker said, or, after `seconds`, that `step` took too long.
    """
    from prefd.daemon.home.handed_settings import HandedSettings
    from prefd.daemon.home.settings import Config
    from prefd.daemon.machine.interpreter import SAME_HASHES, UTF8_STREAMS, WORKER
    from prefd.daemon.specs.catalog_listing import load_catalog

    excluded = load_catalog(home).failures
    settings = HandedSettings.from_config(Config.load(home), home, excluded)
    command = [*WORKER, task, "--home", str(home.root)]
    try:
        child = subprocess.run(
            command,
            input=json.dumps(request.model_dump(mode="json")),
            capture_output=True,
            encoding="utf-8",  # whatever the locale is
            env=os.environ | {"PREFD_PARENT": str(os.getpid())} | UTF8_STREAMS | SAME_HASHES | settings.environment(),
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{step} took longer than {seconds:g} s: does it hang?") from None
    if child.returncode != 0:
        raise Failure(_explain_failure(child, step))
    return answer.model_validate(json.loads(child.stdout))
