"""Checks are found by their folder, and one that raises has failed."""

from __future__ import annotations

import pytest

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.selftest import running
from prefd.daemon.worker.selftest.checks import drift
from prefd.daemon.worker_tasks.check_results import CheckResult


def test_every_file_of_the_folder_is_a_check() -> None:
    assert running.list_checks() == ["drift", "exactness", "machine", "memory", "noise", "resume", "speed"]


def test_a_result_has_its_name_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "check", lambda model: CheckResult(outcome="skipped", finding=f"no {model}"))
    result = running.run_check("drift", "org/model")
    assert (result.name, result.outcome, result.finding) == ("drift", "skipped", "no org/model")
    assert result.to_json().keys() == {"name", "outcome", "finding", "seconds"}


@pytest.mark.parametrize(
    ("error", "remedy"), [(ValueError("odd"), "--json"), (RuntimeError("[metal::malloc] Unable to allocate"), "memory")]
)
def test_a_check_that_raises_has_failed(monkeypatch: pytest.MonkeyPatch, error: Exception, remedy: str) -> None:
    def fail(_: str | None) -> CheckResult:
        raise error

    monkeypatch.setattr(drift, "check", fail)
    result = running.run_check("drift", None)
    assert result.outcome == "failed"
    assert str(error) in result.finding
    assert remedy in result.remedy
    assert "in fail" in str(result.numbers["traceback"])


def test_a_model_of_ones_own_that_cannot_be_loaded_is_no_failure_of_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: str | None) -> CheckResult:
        raise JobError("there is no such folder")

    monkeypatch.setattr(drift, "check", fail)
    with pytest.raises(JobError, match="no such folder"):
        running.run_check("drift", "folder")
    assert running.run_check("drift", None).outcome == "failed"
