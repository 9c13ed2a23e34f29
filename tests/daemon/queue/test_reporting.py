"""Jobs are reported beside their training by processes of their own, which fail, hang and die without any job noticing it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from prefd.daemon.home.settings import Config, ReportConfig
from prefd.daemon.jobs.table import Job
from prefd.daemon.queue.reporting import Reporting
from prefd.daemon.runs.report_files import list_reports
from prefd.daemon.runs.run_folder import RunDir
from support import fake_worker
from support.quick_timing import QUICK_TIMING
from support.supervisor_harness import Bench

BRIEF = replace(QUICK_TIMING, report_end=0.3, report_stop=0.3)
PATIENT = replace(QUICK_TIMING, report_end=60.0, report_stop=60.0)


def list_reported(bench: Bench, to: str, job: int = 1) -> list[str]:
    path = bench.home.root / f"told-{to}-{job}.txt"
    return path.read_text().splitlines() if path.exists() else []


def run(
    bench: Bench,
    name: str = "ok",
    config: ReportConfig | None = None,
    timing: Any = PATIENT,
    then: Callable[[Reporting], Awaitable[None]] = Reporting.wait,
    **spec: Any,
) -> Job:
    """A job's run to its end by a supervisor, with its reports; `then` is awaited behind it."""
    job = bench.add(name, loss={"name": "cpo"}, **spec)
    reporting = Reporting(bench.home, lambda: Config(report=config or ReportConfig()), bench.worker, timing)

    async def end_of(supervised: Job) -> None:
        reporting.end(supervised)
        await then(reporting)

    return bench.run(job, on_training=reporting.begin, after=end_of)


def errors(bench: Bench) -> dict[str, str]:
    return {each.to: each.error for each in list_reports(RunDir(bench.home.job(1)))}


def test_a_job_is_reported_to_what_its_spec_names_and_the_end_is_told(bench: Bench) -> None:
    settings = ReportConfig(to=["tensorboard"], project="mine")
    assert run(bench, config=settings, report_to=["trackio"]).state == "done"
    assert list_reported(bench, "trackio") == ["mine done"]
    assert list_reported(bench, "tensorboard") == []
    assert errors(bench) == {}


def test_a_spec_that_names_none_is_reported_to_what_the_settings_name(bench: Bench) -> None:
    run(bench, config=ReportConfig(to=["tensorboard"]))
    assert list_reported(bench, "tensorboard") == ["prefd done"]
    run(bench, config=ReportConfig(to=["tensorboard"]), report_to=[])
    assert list_reported(bench, "tensorboard", 2) == []


def test_one_process_follows_a_job_over_the_crash_of_its_worker(bench: Bench) -> None:
    assert run(bench, "shaky", report_to=["trackio"]).state == "done"
    assert list_reported(bench, "trackio") == ["prefd done"]


@pytest.mark.parametrize(
    ("to", "error"),
    [
        ("failing", "no route to host"),
        ("dying", "its process ended with SIGSEGV"),
        ("hanging", "it has not written the rest within 0.3 s of the job's end, and was ended"),
        ("absent", f"absent: {fake_worker.MISSING}"),
        ("nowhere", "no reporter is called 'nowhere'; known: absent, dying, failing, hanging, tensorboard, trackio"),
    ],
)
def test_what_goes_wrong_fails_no_job_and_is_told_once(
    bench: Bench, caplog: pytest.LogCaptureFixture, to: str, error: str
) -> None:
    timing = BRIEF if to == "hanging" else PATIENT  # the others end by themselves, on a busy machine not so soon
    with caplog.at_level(logging.WARNING):
        assert run(bench, config=ReportConfig(to=[to, "trackio"]), timing=timing).state == "done"
    assert errors(bench)[to] == error
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [f"job 1 is not reported to {to} any more: {error}; `prefd report 1 --to {to}` sends the rest"]
    assert list_reported(bench, "trackio") == ["prefd done"]


def test_reports_end_with_the_daemon_and_with_their_folder(bench: Bench) -> None:
    job = bench.add("ok", report_to=["hanging", "trackio"])
    spec, folder = bench.table.spec(job.id), RunDir(bench.home.job(job.id))

    async def begin_and_end() -> None:
        from prefd.daemon.home.handed_settings import HandedSettings
        from prefd.daemon.specs.losses import Provision

        reporting = Reporting(bench.home, Config, bench.worker, BRIEF)
        provision = Provision(fake_worker.catalog(), HandedSettings())
        reporting.begin(job, spec, folder, provision)
        await asyncio.sleep(0)
        await reporting.stop(job.id)  # its folder goes
        assert list_reported(bench, "trackio") == []
        reporting.begin(job, spec, folder, provision)
        await asyncio.wait_for(reporting.close(), 60)  # the daemon stops

    asyncio.run(begin_and_end())
    assert errors(bench) == {}
