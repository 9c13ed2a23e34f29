"""From a dropped file to a finished job, and a daemon that outlives its folders."""

import itertools
import json
import os
import time
from contextlib import suppress

import pytest

from prefd.daemon.inbox import watcher as watch
from prefd.daemon.inbox.submit import submit
from prefd.daemon.jobs.states import STATES
from support import fake_worker
from support.running_daemon import Place


def test_a_dropped_spec_becomes_a_finished_job(place: Place) -> None:
    with place.daemon() as client:
        place.drop("smol.yaml", name="")
        (job,) = place.wait_for("done")
        assert (job.name, job.owner) == ("smol", "daemon")
        assert (place.home.accepted / job.source).exists()
        assert job.source.endswith("-smol.yaml")
        status = client.status()
    assert status.jobs == {**dict.fromkeys(STATES, 0), "done": 1}
    assert status.queue.paused_at is None
    assert (status.active, status.stopping, status.home) == ([], False, str(place.home.root))
    assert (status.catalog.error, status.catalog.losses) == (None, 4)
    assert status.watcher.mode == "events"
    assert (status.watcher.last_rescan or 0) > time.time() - 20
    assert status.memory_rss_bytes > 10_000_000
    assert status.pid == os.getpid()


def test_the_three_formats_and_submit_are_all_taken(place: Place) -> None:
    good = json.loads(fake_worker.spec_text(place.folder))
    toml = f'model = "{good["model"]}"\n[data]\npath = "{good["data"]["path"]}"\n'
    with place.daemon():
        place.drop("a.json", json.dumps(good))
        place.drop("b.yml", f"model: {good['model']}\ndata:\n  path: {good['data']['path']}\n")
        place.drop("c.toml", toml)
        submit(place.home, good, "d")
        place.wait_for("done", "done", "done", "done")


def test_the_running_job_and_its_progress_are_in_the_status(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml", name="sleep")
        fake_worker.wait_for(lambda: any(job.progress for job in client.status().active))
        (job,) = client.status().active
        assert (job.id, job.state, (job.worker_pid or 0) > 0) == (1, "precomputing", True)
        assert job.progress is not None
        assert (job.progress.phase, job.progress.done, job.progress.total) == ("precompute", 1, 2)


def test_files_are_claimed_while_a_job_runs_and_run_one_at_a_time(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml", name="once")
        fake_worker.wait_for(lambda: "hello" in place.log(1))
        place.drop("b.yaml")
        place.wait_for("precomputing", "queued")
        client.act("cancel", 1)
        place.wait_for("cancelled", "done")


def test_a_sweep_is_a_job_for_each_combination_run_one_after_the_other(place: Place) -> None:
    with place.daemon():
        place.drop("many.yaml", name="ok", sweep={"loss.name": ["sigmoid", "ipo"], "loss.beta": [0.1, 0.2]})
        jobs = place.wait_for("done", "done", "done", "done")
    assert [(job.name, job.group) for job in jobs] == [(f"ok-{number}", "ok") for number in (1, 2, 3, 4)]
    assert jobs[2].description == "loss.name ipo, loss.beta 0.1"
    assert len({job.source for job in jobs}) == 1
    assert [path.name for path in place.home.accepted.glob("[!.]*")] == [jobs[0].source]
    for before, after in itertools.pairwise(jobs):
        assert before.finished_at is not None
        assert after.started_at is not None
        assert before.finished_at <= after.started_at, "the second finds what the first has scored"


def test_the_same_file_twice_is_two_jobs(place: Place) -> None:
    with place.daemon():
        for _ in range(2):
            place.drop("a.yaml")
            fake_worker.wait_for(lambda: not (place.home.jobs / "a.yaml").exists())
        first, second = place.wait_for("done", "done")
        assert first.source != second.source


def test_what_was_dropped_while_no_daemon_ran_is_found_at_start(place: Place) -> None:
    place.drop("a.yaml")
    with place.daemon():
        place.wait_for("done")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fail", "data.path: no column called chosen"),
        (
            "crash@training",
            "crashed 3 times without getting any further: the worker ended with exit code 1 and did not say why; its log ends:",
        ),
    ],
)
def test_a_failed_job_has_its_reason_and_the_next_one_runs(place: Place, name: str, message: str) -> None:
    with place.daemon():
        place.drop("a.yaml", name=name)
        place.drop("b.yaml")
        failed, _ = place.wait_for("failed", "done")
        assert failed.reason.splitlines()[0] == message


def test_a_watched_folder_that_is_deleted_is_made_again(place: Place) -> None:
    with place.daemon():
        place.home.jobs.rename(place.folder / "away")
        fake_worker.wait_for(place.home.rejected.is_dir)
        place.drop("a.yaml")
        place.wait_for("done")


def test_folders_deleted_at_any_moment_are_survived(place: Place) -> None:
    with place.daemon():
        for _ in range(30):
            for folder in (place.home.accepted, place.home.rejected, place.home.jobs):
                with suppress(OSError):  # the daemon may be making it again
                    folder.rmdir()
            time.sleep(0.01)
        fake_worker.wait_for(place.home.rejected.is_dir)
        place.drop("a.yaml")
        place.wait_for("done")


def test_a_dead_watcher_leaves_a_daemon_that_rescans(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(*_: object, **__: object) -> None:
        raise RuntimeError("no inotify here")

    monkeypatch.setattr(watch, "awatch", dead)
    with place.daemon() as client:
        place.drop("a.yaml")
        place.wait_for("done")
        watcher = client.status().watcher
        assert (watcher.mode, watcher.error) == ("polling", "RuntimeError: no inotify here")


def test_a_burst_of_files_is_claimed_once_each(place: Place) -> None:
    spec = fake_worker.spec_text(place.folder, name="")
    with place.daemon() as client:
        place.drop("0.yaml", name="sleep")
        for number in range(1, 100):
            (place.home.jobs / f"{number}.yaml").write_text(spec)
        fake_worker.wait_for(lambda: len(place.jobs()) == 100)
        client.stop(10)
    assert sorted(job.name for job in place.jobs() if job.id > 1) == sorted(str(number) for number in range(1, 100))
