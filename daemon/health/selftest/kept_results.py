"""The results of `prefd selftest` are kept in the home: of each check the last one, with when it was made and by which version."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import metadata
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.worker_tasks.check_results import CheckResult

FILE = "selftest.json"


def keep_results(home: Home, results: Iterable[CheckResult]) -> None:
    """Keep these results in place of earlier ones of the same checks, where there is a home that can be written."""
    if not home.run.is_dir():
        return
    stamp = {"at": time.time(), "version": metadata.version("prefd")}
    results_by_name = {each["name"]: each for each in read_results(home)}
    results_by_name |= {result.name: result.to_json() | {"name": result.name} | stamp for result in results}
    with suppress(OSError):
        write_json(home.run / FILE, list(results_by_name.values()))


def read_results(home: Home) -> Sequence[dict[str, Any]]:
    """Read what was kept; nothing where there is nothing, and where the file is damaged."""
    document = read_json(home.run / FILE)
    if not isinstance(document, list):
        return []
    return [each for each in document if isinstance(each, dict) and {"name", "outcome", "at"} <= each.keys()]
