"""What several test processes need is made by the first of them, and read by the others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from filelock import FileLock


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[], Any]) -> Any:
    """Return what `make` gives, as JSON has it: computed by one of pytest-xdist's processes in a run.

    A module's fixture is set up again in each process that gets some of the module's tests, and again where it steals more.
    """
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the folder of the whole run
    path = folder / f"{name}.json"
    with FileLock(folder / f"{name}.lock"):
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_text(json.dumps(make()), encoding="utf-8")
            unfinished.rename(path)
    return json.loads(path.read_text(encoding="utf-8"))
