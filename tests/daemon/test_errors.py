"""One family of errors: which of them a person reads, and what each means to a script and to a client of the API."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import click
import pytest

import prefd.cache
import prefd.daemon
import prefd.plugins
from prefd.daemon.commands.shared.errors import Failure, explain_error
from prefd.daemon.errors import EXPECTED, Exit, PrefdError, WorkerExit
from support import stand_in_worker

PARTS = {
    "AdapterError": "goes on behind the folder's name",
    "BadSeal": "is logged, and an earlier state taken",
    "StateTooLarge": "is logged, and the state is not kept",
    "BrokenFrame": "is logged, and the rank that sent it counts as lost",
    "NoFrame": "becomes a LostRank that says what may have printed it",
    "BadHosts": "becomes a ConfigError",
    "InCloud": "is told of the claimed file, or is why a job waits",
    "GivenUp": "becomes a LostRing",
    "LostRing": "becomes a LostRank that says whose end it was",
    "BadHeader": "goes on behind the file's name",
    "NoTurns": "is a warning beside the Modelfile that has no template",
    "NoWindows": "is a warning of the report, or the reason for which a reference is refused",
    "ParseError": "goes on behind the file's name",
    "RecordError": "becomes a ControlError that names the field",
    "SweepError": "becomes a line of a SpecError",
    "InvalidLogprobs": "goes on behind the row or the export that it is of",
    "DamagedEntry": "is reported, and scored again",
    "DamagedReference": "is reported by `prefd cache verify`",
    "MissingEntry": "is scored, or named by the job",
    "UnusableRow": "is counted in the job's report",
    "UnclearRow": "is counted in the job's report, or refuses the dataset",
    "TwiceTheKey": "goes on behind the row's place",
    "Fault": "is a finding of `prefd check-loss`",
    "DamagedCheckpoint": "is logged, and an earlier checkpoint taken",
    "NotCompared": "becomes a warning of the job",
    "Interrupted": "ends a step that is not taken to its end, and becomes Stopped",
    "Stopped": "ends a worker that was asked to stop",
    "StopIntake": "ends the intake when the daemon stops",
}
"""Errors that no one reads as they stand, and what becomes of each."""

EXITS = {
    "BadAddress": Exit.USAGE,
    "HomeUnusable": Exit.NOT_FOUND,
    "JobNotFound": Exit.NOT_FOUND,
    "DaemonNotRunning": Exit.NO_DAEMON,
}
STATUSES = {
    "CatalogError": 503,
    "DaemonChanging": 503,
    "DaemonNotRunning": 503,
    "DaemonOfAnotherUser": 503,
    "DaemonSilent": 503,
    "FolderUnusable": 503,
    "ForeignFolder": 409,
    "HomeUnusable": 503,
    "IllegalTransition": 409,
    "JobNotFound": 404,
    "JobTableError": 503,
    "LookEnded": 503,
    "LookFailed": 503,
    "LookRefused": 422,
    "LookSuperseded": 409,
    "NoTrainedPolicy": 409,
    "NotEditable": 409,
    "NotRemovable": 409,
    "PageMissing": 503,
    "PluginMissing": 503,
    "RunsShared": 409,
    "SpecError": 422,
    "SpecUnreadable": 422,
    "TooManyScorings": 429,
    "Unreadable": 503,
}


def every_error() -> Iterator[type[Exception]]:
    """Each exception class that prefd defines."""
    for package in (prefd.cache, prefd.daemon, prefd.plugins):
        for module_info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module_info.name.endswith("__main__"):
                continue
            for value in vars(importlib.import_module(module_info.name)).values():
                if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == module_info.name:
                    yield value


def dotted(error: type[Exception]) -> str:
    return f"{error.__module__}.{error.__qualname__}"


ERRORS = list(every_error())
TOLD = [error for error in ERRORS if issubclass(error, EXPECTED) and error not in EXPECTED]


def test_every_error_is_of_the_family_or_part_of_another_message() -> None:
    others = [error for error in ERRORS if not issubclass(error, (*EXPECTED, click.ClickException))]
    assert sorted(error.__name__ for error in others) == sorted(PARTS)


@pytest.mark.parametrize("error", TOLD, ids=dotted)
def test_each_becomes_a_message_with_its_exit_code(error: type[Exception]) -> None:
    instance = error.__new__(error)
    instance.args = ("what happened",)
    failure = explain_error(instance)
    assert isinstance(failure, Failure)
    assert failure.exit_code == EXITS.get(error.__name__, Exit.FAILED)


def test_each_has_its_http_status() -> None:
    statuses = {error.__name__: error.http_status for error in TOLD if issubclass(error, PrefdError)}
    assert {name: status for name, status in statuses.items() if status != PrefdError.http_status} == STATUSES


def test_an_error_of_several_lines_keeps_each() -> None:
    error = PrefdError("one is wrong", "another too")
    assert error.lines == ("one is wrong", "another too")
    assert str(error) == "one is wrong\nanother too"


def test_a_fault_of_prefd_keeps_its_traceback() -> None:
    assert explain_error(ValueError("a bug")) is None


def test_the_stand_in_worker_ends_with_the_exit_codes_of_the_real_one() -> None:
    """It runs without prefd, and so has numbers of its own."""
    named = {name: value for name, value in vars(stand_in_worker).items() if name in WorkerExit.__members__}
    assert len(named) == 8
    assert named == {name: WorkerExit[name].value for name in named}
