"""Runs one check of the folder `checks`, which no list names, and lists them."""

from __future__ import annotations

import importlib
import logging
import time
import traceback
from pathlib import Path

from prefd.daemon.errors import EXPECTED
from prefd.daemon.worker.device_trouble import is_out_of_memory
from prefd.daemon.worker.selftest import checks
from prefd.daemon.worker_tasks.check_results import CheckResult
from prefd.plugins.errors import describe_exception

log = logging.getLogger(__name__)


def list_checks() -> list[str]:
    """List the names of the checks: those of the files in their folder."""
    return sorted(path.stem for path in Path(checks.__path__[0]).glob("[a-z]*.py"))


def run_check(name: str, model: str | None) -> CheckResult:
    """Run the check `name`; one that raises has failed. `model` is the user's own, None for random ones.

    Raises `JobError` where the user's model cannot be loaded: that says nothing of the machine.
    """
    began = time.monotonic()
    module = importlib.import_module(f"{checks.__name__}.{name}")
    try:
        result: CheckResult = module.check(model)
    except Exception as error:
        if model is not None and isinstance(error, EXPECTED):
            raise
        log.exception("the check %s cannot be made", name)
        remedy = "report what --json prints, which has the traceback"
        if is_out_of_memory(error):
            remedy = "end what else takes memory, and try again"
        result = CheckResult(
            outcome="failed",
            finding=f"it cannot be made: {describe_exception(error)}",
            numbers={"traceback": "".join(traceback.format_exception(error))},
            remedy=remedy,
        )
    return result.named(name, time.monotonic() - began)
