"""Runs the checks of `prefd selftest`, which are found by their folders, and yields each result as it is there."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from prefd.daemon.errors import PrefdError
from prefd.daemon.health.selftest import checks
from prefd.daemon.health.selftest.playground import Playground
from prefd.daemon.health.selftest.workers import NoAnswer, ask_worker
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config
from prefd.daemon.timing import USUAL, Timing
from prefd.daemon.worker_tasks.check_results import CheckInput, CheckResult

MODEL_CHECKS = "prefd.daemon.worker.selftest.checks"
FIRST = "machine"
"""The check that says what all others were made on."""
OF_A_MODEL = ("memory", "speed")
"""The checks that can be made on a model of the user's."""


def list_model_checks() -> list[str]:
    """List the checks that a worker makes; nothing of them is imported here."""
    spec = find_spec(MODEL_CHECKS)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return sorted(_list_files(folders), key=lambda name: (name != FIRST, name))


def list_system_checks() -> list[str]:
    """List the checks that are made with a daemon."""
    return _list_files(checks.__path__)


def list_checks() -> list[str]:
    """List all checks, in the order in which they are made."""
    return [*list_model_checks(), *list_system_checks()]


def run_checks(home: Home, names: Sequence[str], timing: Timing = USUAL) -> Iterator[CheckResult]:
    """Make the checks that are named, on the device that the settings of `home` name, and yield each result as it is made.

    `home` is the user's, which stays as it is. Raises `ConfigError` where its settings cannot be read.
    """
    device = Config.load(home).worker.device
    for name in list_model_checks():
        if name in names:
            yield run_model_check(name, None, timing, device)
    system_checks = [name for name in list_system_checks() if name in names]
    if not system_checks:
        return
    with Playground.open(
        timing, lambda task, request, answer: ask_worker(task, request, answer, timing.selftest_check, device), device
    ) as playground:
        for name in system_checks:
            yield run_system_check(name, playground, home)


def run_model_check(name: str, model: str | None, timing: Timing = USUAL, device: str = "auto") -> CheckResult:
    """Have a worker make one check, on random models or the user's `model`; a worker that dies has failed it.

    Raises `Refused` where the user's model cannot be loaded.
    """
    began = time.monotonic()
    try:
        return ask_worker("selftest", CheckInput(check=name, model=model), CheckResult, timing.selftest_check, device)
    except NoAnswer as error:
        return _describe_failure(error).named(name, time.monotonic() - began)


def run_system_check(name: str, playground: Playground, home: Home) -> CheckResult:
    """Make one check in the playground; one that raises has failed."""
    began = time.monotonic()
    try:
        result: CheckResult = importlib.import_module(f"{checks.__name__}.{name}").check(playground, home)
    except (PrefdError, OSError) as error:
        result = _describe_failure(error)
    return result.named(name, time.monotonic() - began)


def _describe_failure(error: Exception) -> CheckResult:
    return CheckResult(
        outcome="failed",
        finding=f"it cannot be made: {error}",
        remedy="look whether `prefd doctor` finds a cause, and else report this block",
    )


def _list_files(folders: Sequence[str]) -> list[str]:
    return sorted(path.stem for folder in folders for path in Path(folder).glob("[a-z]*.py"))
