"""Pairs are scored by the daemon in their turn: a place beside the jobs that run, the next that is free, and none while it pauses."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from prefd.daemon.control.client import Client
from prefd.daemon.control.control_error import ControlError
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import QUEUE_PAUSED
from prefd.daemon.machine.files import write_json
from prefd.daemon.queue import pair_scoring
from prefd.daemon.queue.pair_scoring import NOT_ITS_TURN
from prefd.daemon.runs.pair_files import PairFiles
from prefd.daemon.runs.run_folder import RunDir
from support import fake_worker
from support.running_daemon import QUICK, Place


def files_of(home: Home, job: int) -> PairFiles:
    return PairFiles(RunDir(home.job(job)))


def scored(place: Place) -> list[str]:
    path = place.home.root / "scored.txt"
    return path.read_text().split() if path.exists() else []


def until(holds: Callable[[], bool]) -> None:
    fake_worker.wait_for(holds, 60)


def finish(place: Place, *names: str) -> None:
    """Runs a job of each name to its end, with an adapter."""
    for name in names:
        place.drop(f"{name}.json", name=name)
    place.wait_for(*["done"] * len(names))
    for job in place.jobs():
        (place.home.job(job.id) / "adapter").mkdir()


def ask(client: Client, job: int) -> dict[str, object]:
    answer: dict[str, object] = client.score_pairs(job).to_json()
    return answer


def test_pairs_wait_for_the_job_that_runs_and_go_before_the_next(place: Place) -> None:
    with place.daemon() as client:
        finish(place, "a")
        place.drop("gate.json", name="gate")
        place.wait_for("done", "precomputing")
        place.drop("last.json", name="last")
        place.wait_for("done", "precomputing", "queued")
        assert {"state": "waiting", "reason": NOT_ITS_TURN}.items() <= ask(client, 1).items()
        (place.home.root / "slow").touch()
        (place.home.root / "gate").touch()
        until(lambda: scored(place) == ["1"])
        assert ask(client, 1)["state"] == "scoring"
        place.wait_for("done", "done", "queued")
        (place.home.root / "slow").unlink()
        place.wait_for("done", "done", "done")
        assert scored(place) == ["1"]
        assert files_of(place.home, 1).read_state(1).state == "none"  # the stand-in writes no table
        assert not list(files_of(place.home, 1).folder.glob("state.json"))


def test_a_paused_queue_scores_nothing_and_says_so(place: Place) -> None:
    with place.daemon() as client:
        finish(place, "a")
        client.act_on_queue("pause")
        ask(client, 1)
        until(lambda: files_of(place.home, 1).read_state(1).reason == QUEUE_PAUSED)
        assert scored(place) == []
        client.act_on_queue("resume")
        until(lambda: scored(place) == ["1"])


def test_a_failure_is_told_and_the_daemon_goes_on(place: Place) -> None:
    with place.daemon() as client:
        finish(place, "a")
        (place.home.root / "broken").touch()
        ask(client, 1)
        until(lambda: files_of(place.home, 1).read_state(1).state == "failed")
        assert files_of(place.home, 1).read_state(1).reason == "the pairs are not those of the job"
        (place.home.root / "broken").unlink()
        ask(client, 1)
        until(lambda: files_of(place.home, 1).read_state(1).state == "none")


def test_a_gpu_that_ends_its_passes_has_them_scored_again(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    display = place.home.root / "display"
    with place.daemon() as client:
        finish(place, "a")
        display.touch()
        ask(client, 1)
        until(lambda: len(scored(place)) == 3 and files_of(place.home, 1).read_state(1).state == "failed")
        assert "Caused GPU Hang Error" in files_of(place.home, 1).read_state(1).reason
        assert caplog.text.count("its pairs are scored again in") == 2
        display.write_text("once")
        ask(client, 1)
        until(lambda: len(scored(place)) == 5 and files_of(place.home, 1).read_state(1).state == "none")


def test_the_end_of_the_daemon_ends_it_and_leaves_no_state(place: Place) -> None:
    with place.daemon() as client:
        finish(place, "a", "b")
        (place.home.root / "slow").touch()
        ask(client, 1)
        ask(client, 2)
        until(lambda: scored(place) == ["1"])
    assert [files_of(place.home, job).read_state(job).state for job in (1, 2)] == ["none", "none"]


def test_a_job_that_runs_anew_ends_the_scoring_of_its_pairs(place: Place) -> None:
    config = QUICK.model_copy(update={"parallel": 2})
    with place.daemon(config) as client:
        finish(place, "a")
        (place.home.root / "slow").touch()
        ask(client, 1)
        until(lambda: scored(place) == ["1"])
        client.act("retry-fresh", 1)
        place.wait_for("done")
        until(lambda: files_of(place.home, 1).read_state(1).state == "none")
        assert scored(place) == ["1"]


def test_what_cannot_be_scored_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with place.daemon() as client:
        finish(place, "a", "b")
        os.rmdir(place.home.job(2) / "adapter")
        place.drop("fail.json", name="fail")
        place.wait_for("done", "done", "failed")
        for job, reason in (
            (2, "has no adapter"),
            (3, "failed: its pairs can be scored when it is done"),
            (7, "there is no job 7"),
        ):
            with pytest.raises(ControlError, match=reason):
                ask(client, job)
        monkeypatch.setattr(pair_scoring, "MOST_WAITING", 0)
        with pytest.raises(ControlError, match="ask again when some are"):
            ask(client, 1)


def test_whoever_scores_them_and_is_gone_scores_them_no_more(ready_home: Home, tmp_path: Path) -> None:
    ready_home.job(1).mkdir(parents=True)
    files = files_of(ready_home, 1)
    files.write_state("scoring")
    assert files.read_state(1).state == "scoring"
    write_json(
        files.folder / "state.json",
        {"state": "scoring", "reason": "", "process": {"pid": os.getpid(), "started": 1.0, "boot": ""}},
    )
    state = files.read_state(1)
    assert (state.state, state.reason) == ("none", "what was to score them has ended: ask again")
