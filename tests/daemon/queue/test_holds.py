"""What a queue does about a GPU that fails, in a daemon with stand-in workers."""

from __future__ import annotations

import logging

import pytest

from faults.daemon_machine import with_mine
from prefd.daemon.jobs.table import JobTable
from support import fake_worker
from support.running_daemon import Place


def test_a_job_whose_own_passes_fail_on_the_gpu_holds_nobody_up_and_waits_longer_each_time(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    """Its worker reports what was done before, as one does that goes on from a checkpoint: that is no pass through the GPU."""
    display = place.home.root / "display"
    display.touch()
    with caplog.at_level(logging.WARNING), place.daemon() as client:
        place.drop("poison.yaml", name="interrupted")
        for wait in ("0.05", "0.1", "0.2"):
            fake_worker.wait_for(lambda wait=wait: f"tried again in {wait} s" in caplog.text)  # type: ignore[misc]
        assert "the GPU failed, which passes by itself" in (client.status().queue.waits_for or "")
        for number in range(2):
            place.drop(f"good{number}.yaml", name="ok")
        fake_worker.wait_for(lambda: [job.state for job in place.jobs()][1:] == ["done", "done"])
        assert place.jobs()[0].state in ("queued", "precomputing")
        display.unlink()
        place.wait_for("done", "done", "done")


def test_jobs_that_lack_a_plugin_wait_for_it_without_being_tried_and_start_in_their_order(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = place.folder / "catalog.json"
    catalog.write_text(with_mine(place, "it raises SyntaxError"))
    with JobTable.open(place.home.database) as table:
        for number in range(4):
            table.add(place.spec(loss={"name": "mine"}, training={"iters": number + 2}), f"{number}.yaml")
    with caplog.at_level(logging.WARNING), place.daemon():
        fake_worker.wait_for(lambda: all("plugin mine cannot be loaded" in job.waiting for job in place.jobs()))
        catalog.write_text(with_mine(place))
        jobs = place.wait_for("done", "done", "done", "done")
    starts = [job.started_at or 0.0 for job in jobs]
    assert starts == sorted(starts)
    messages = [
        record.getMessage() for record in caplog.records if "waits: loss mine is not there" in record.getMessage()
    ]
    assert len(messages) == 1, "the others were not tried"


@pytest.mark.parametrize(
    ("name", "reason"), [("offline", "no answer: model org/name"), ("in_cloud", "/iCloud/pairs.jsonl is in the cloud")]
)
def test_a_job_whose_own_files_do_not_come_is_tried_now_and_then_and_holds_nobody_up(
    place: Place, caplog: pytest.LogCaptureFixture, name: str, reason: str
) -> None:
    """Its model is on this machine, so that there is nothing of the hub for which it, or another, could wait."""
    marks = [place.home.root / mark for mark in ("offline", "evicted")]
    for mark in marks:
        mark.touch()
    with caplog.at_level(logging.WARNING), place.daemon() as client:
        place.drop("away.yaml", name=name)
        for wait in ("0.05", "0.1", "0.2"):
            fake_worker.wait_for(lambda wait=wait: f"tried again in {wait} s" in caplog.text)  # type: ignore[misc]
        assert reason in (client.status().queue.waits_for or "")
        place.drop("good.yaml", name="ok")
        fake_worker.wait_for(lambda: [job.state for job in place.jobs()][1:] == ["done"])
        assert place.jobs()[0].state in ("queued", "precomputing")
        for mark in marks:
            mark.unlink()
        place.wait_for("done", "done")
