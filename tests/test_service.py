import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import fakes
import pytest

from prefd.daemon import lock, service, supervisor, watch
from prefd.daemon.client import Client, ControlError, DaemonNotRunning
from prefd.daemon.config import Config, WatchConfig
from prefd.daemon.home import Home
from prefd.daemon.inbox import submit
from prefd.daemon.jobs import STATES, Job, JobTable, JobTableError, State
from prefd.daemon.service import Service
from prefd.daemon.spec import JobSpec

QUICK = Config(watch=WatchConfig(settle_seconds=0.05, rescan_seconds=0.2), stop_grace_seconds=1.0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(watch, "FIRST_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(service, "PAUSE_SECONDS", 0.05)


@dataclass
class Place:
    """A home with a stand-in worker, and what a test does with it."""

    home: Home
    folder: Path
    worker: tuple[str, ...]
    services: list[Service] = field(default_factory=list)

    @contextmanager
    def daemon(self, config: Config = QUICK) -> Iterator[Client]:
        """A daemon in a thread, stopped (and checked to have stopped cleanly) at the end."""
        failures: list[BaseException] = []
        running: list[Service] = []

        async def serve() -> None:
            with lock.held(self.home), JobTable.open(self.home.database) as table:
                running.append(Service(self.home, config, table, self.worker))
                await running[0].run()

        def run() -> None:
            try:
                asyncio.run(serve())
            except BaseException as error:  # noqa: BLE001  # raised again in the test's thread
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        client = Client(self.home)
        try:
            fakes.wait_for(lambda: bool(failures) or answers(client))
            self.services += running
            yield client
        finally:
            if running:
                running[0].stop.request()
            thread.join(20)
        assert not thread.is_alive()
        assert failures == []
        assert lock.holder(self.home) is None

    def drop(self, file: str, text: str | bytes | None = None, **spec: Any) -> None:
        """Rename a file into jobs/: `text`, or a good spec."""
        beside = self.folder / f"beside-{time.monotonic_ns()}"
        text = fakes.spec_text(self.folder, **spec) if text is None else text
        beside.write_bytes(text if isinstance(text, bytes) else text.encode())
        beside.rename(self.home.jobs / file)

    def jobs(self, *states: State) -> list[Job]:
        with JobTable.open_readonly(self.home.database) as table:
            return table.list(*states)

    def wait_for(self, *states: State) -> list[Job]:
        """The jobs, once they are in exactly these states (oldest first)."""
        fakes.wait_for(lambda: [job.state for job in self.jobs()] == list(states), 20)
        return self.jobs()

    def rejected(self) -> dict[str, str]:
        """What each rejected file's error says, without this test's paths."""
        return {
            path.name.removesuffix(".error.txt"): path.read_text().strip().replace(str(self.folder), "F")
            for path in self.home.rejected.glob("*.error.txt")
        }

    def log(self, job_id: int) -> str:
        path = self.home.job(job_id) / "worker.log"
        return path.read_text() if path.exists() else ""


def answers(client: Client) -> bool:
    try:
        client.status()
    except DaemonNotRunning:
        return False
    return True


@pytest.fixture
def place(home: Path, tmp_path: Path) -> Place:
    made = Home(home)
    made.create()
    return Place(made, tmp_path, fakes.make_worker(tmp_path))


# --- from a dropped file to a finished job


def test_a_dropped_spec_becomes_a_finished_job(place: Place) -> None:
    with place.daemon() as client:
        place.drop("smol.yaml", name="")
        (job,) = place.wait_for("done")
        assert (job.name, job.owner) == ("smol", "daemon")
        assert (place.home.accepted / job.source).exists()
        assert job.source.endswith("-smol.yaml")
        status = client.status()
    assert status["jobs"] == {**dict.fromkeys(STATES, 0), "done": 1}
    assert status["queue"] == {"paused_at": None}
    assert (status["active"], status["stopping"], status["home"]) == ([], False, str(place.home.root))
    assert status["catalog"] == {"error": None, "losses": 4}
    assert status["watcher"]["mode"] == "events"
    assert status["watcher"]["last_rescan"] > time.time() - 20
    assert status["memory_rss_bytes"] > 10_000_000
    assert status["pid"] == os.getpid()


def test_the_three_formats_and_submit_are_all_taken(place: Place) -> None:
    good = json.loads(fakes.spec_text(place.folder))
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
        fakes.wait_for(lambda: any(job["progress"] for job in client.status()["active"]))
        (job,) = client.status()["active"]
        assert (job["id"], job["state"], job["worker_pid"] > 0) == (1, "precomputing", True)
        assert (job["progress"]["phase"], job["progress"]["done"], job["progress"]["total"]) == ("precompute", 1, 2)


def test_files_are_claimed_while_a_job_runs_and_run_one_at_a_time(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml", name="once")
        fakes.wait_for(lambda: "hello" in place.log(1))
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
    assert [path.name for path in place.home.accepted.iterdir()] == [jobs[0].source]
    for before, after in itertools.pairwise(jobs):
        assert before.finished_at is not None
        assert after.started_at is not None
        assert before.finished_at <= after.started_at, "the second finds what the first has scored"


def test_a_sweep_with_one_bad_combination_is_no_job_at_all(place: Place) -> None:
    with place.daemon():
        place.drop("many.yaml", sweep={"loss.name": ["ipo", "dpop"], "loss.delta": [5.0]})
        fakes.wait_for(lambda: bool(place.rejected()))
        assert list(place.rejected()) == ["many.yaml"]
        assert "(with loss.name ipo, loss.delta 5.0)" in place.rejected()["many.yaml"]
        assert place.jobs() == []


def test_the_same_file_twice_is_two_jobs(place: Place) -> None:
    with place.daemon():
        for _ in range(2):
            place.drop("a.yaml")
            fakes.wait_for(lambda: not (place.home.jobs / "a.yaml").exists())
        first, second = place.wait_for("done", "done")
        assert first.source != second.source


def test_what_was_dropped_while_no_daemon_ran_is_found_at_start(place: Place) -> None:
    place.drop("a.yaml")
    with place.daemon():
        place.wait_for("done")


def test_a_relative_path_starts_at_the_watched_folder(place: Place) -> None:
    fakes.model_folder(place.home.jobs / "model")
    with place.daemon():
        place.drop("a.yaml", "model: ./model\ndata: {path: ./none.jsonl}")
        fakes.wait_for(lambda: bool(place.rejected()))
        assert place.rejected()["a.yaml"] == "a.yaml: data.path: no such file or folder: F/home/jobs/none.jsonl"


# --- bad specs: each with its message, and the daemon goes on


def pickles(folder: Path) -> str:
    model = fakes.model_folder(folder / "pickled")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    return str(model)


def weightless(folder: Path) -> str:
    model = fakes.model_folder(folder / "weightless")
    (model / "model.safetensors").unlink()
    return str(model)


def text(**more: Any) -> Callable[[Path], str]:
    return lambda folder: fakes.spec_text(folder, **more)


BAD: dict[str, tuple[Callable[[Path], str | bytes], str]] = {
    "empty.yaml": (lambda _: b"", "the file is empty: a spec needs at least `model` and `data.path`"),
    "truncated.yaml": (
        lambda folder: fakes.spec_text(folder)[:-3],
        r"line 1, column \d+: expected the node content, but found '<stream end>'; is the file cut short\?",
    ),
    "truncated.json": (lambda _: b'{"model": "a/b", "da', r"line 1, column 18: Unterminated string .*; is the file cut short\?"),
    "binary.yaml": (lambda _: bytes(range(256)) * 4, r"not UTF-8 text \(byte 0x80 at offset 128\): is it a binary file\?"),
    "nul.yaml": (lambda _: b"a\0b", r"a NUL character on line 1: is it a binary file\?"),
    "huge.yaml": (lambda _: b"a: 1\n" * 2_097_152, "larger than 256 KiB: not a job spec"),
    "unknown-key.yaml": (text(training={"lr": 1e-5}), r"line 1: training\.lr: unknown key; did you mean training\.learning_rate\?"),
    "wrong-type.yaml": (text(training={"batch_size": "many"}), 'line 1: training.batch_size: expected a whole number, got "many"'),
    "nan.yaml": (text(training={"learning_rate": float("nan")}), 'line 1: training.learning_rate: expected a number, got "NaN"'),
    "nan.json": (text(training={"learning_rate": float("nan")}), "NaN is not a number a spec can hold"),
    "inf.yaml": (lambda folder: "a: {b: .inf}", "a.b: expected a finite number, got inf"),
    "no-such-loss.yaml": (
        text(loss={"name": "sigmod"}),
        r"loss\.name: no loss is called 'sigmod'; did you mean sigmoid\? known: cpo, dpop, ipo, sigmoid",
    ),
    "loss-parameter.yaml": (text(loss={"name": "ipo", "beta": -0.1}), r"loss\.beta: must be above 0, got -0\.1 \(ipo\)"),
    "no-weights.yaml": (
        lambda folder: fakes.spec_text(folder, model=weightless(folder)),
        r"model: F/weightless has no weights \(model\*\.safetensors\)",
    ),
    "pickles.yaml": (
        lambda folder: fakes.spec_text(folder, model=pickles(folder)),
        "model: F/pickled has its weights as pickles only; prefd loads safetensors only: convert it first",
    ),
    "no-data.yaml": (
        lambda folder: fakes.spec_text(folder, data={"path": str(folder / "no.jsonl")}),
        r"data\.path: no such file or folder: F/no\.jsonl",
    ),
    "notes.txt": (text(), r"a spec's name ends in \.yaml, \.yml, \.toml or \.json"),
}  # fmt: skip


def test_every_bad_spec_is_rejected_with_its_message_and_the_next_job_runs(place: Place) -> None:
    with place.daemon() as client:
        for name, (make, said) in BAD.items():
            place.drop(name, make(place.folder))
            fakes.wait_for(lambda name=name: name in place.rejected())
            message = place.rejected()[name]
            assert re.fullmatch(f"({re.escape(name)}: )?{said}", message), message
            place.drop("good.yaml")
            fakes.wait_for(lambda: all(job.state == "done" for job in place.jobs()) and bool(place.jobs()))
        place.wait_for(*(["done"] * len(BAD)))
        assert client.status()["jobs"]["done"] == len(BAD)
    assert list(place.home.accepted.glob("*good*")) != []
    assert len(list(place.home.rejected.iterdir())) == 2 * len(BAD)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fail", "data.path: no column called chosen"),
        ("crash@training", "the worker ended with exit code 1 and did not say why; its log ends:"),
        ("killed", "the worker was killed by SIGKILL; possibly the system ran out of memory; its log ends:"),
    ],
)
def test_a_failed_job_has_its_reason_and_the_next_one_runs(place: Place, name: str, said: str) -> None:
    with place.daemon():
        place.drop("a.yaml", name=name)
        place.drop("b.yaml")
        failed, _ = place.wait_for("failed", "done")
        assert failed.reason.splitlines()[0] == said


def test_a_failing_catalogue_is_the_reason_until_it_works_again(place: Place) -> None:
    good = (place.folder / "catalog.json").read_text()
    (place.folder / "catalog.json").write_text("!ImportError: no module named mlx")
    with place.daemon() as client:
        place.drop("a.yaml")
        fakes.wait_for(lambda: bool(place.rejected()))
        assert place.rejected()["a.yaml"].splitlines() == [
            "the losses cannot be listed: listing the plugins failed (exit code 1): ImportError: no module named mlx",
            "put it right and drop the file again",
        ]
        assert "no module named mlx" in client.status()["catalog"]["error"]
        (place.folder / "catalog.json").write_text(good)
        place.drop("a.yaml")
        place.wait_for("done")
        assert client.status()["catalog"]["error"] is None


def test_a_loss_installed_while_the_daemon_runs_can_be_used_at_once(place: Place) -> None:
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
        more = json.loads(json.dumps(fakes.CATALOG))
        more["losses"]["mine"] = fakes.loss()
        (place.folder / "catalog.json").write_text(json.dumps(more))
        place.home.config.write_text("# a change that a plugin's installation stands for\n")
        place.drop("b.yaml", loss={"name": "mine"})
        place.wait_for("done", "done")


# --- stopping, crashing, going on


def test_a_stop_puts_the_running_job_back_and_the_next_daemon_goes_on(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml", name="once")
        place.drop("b.yaml")
        fakes.wait_for(lambda: "hello" in place.log(1) and len(place.jobs()) == 2)
        assert client.stop(wait_seconds=10)
    assert [job.state for job in place.jobs()] == ["queued", "queued"]
    with place.daemon():
        place.wait_for("done", "done")


def test_a_paused_job_gives_way_to_the_next_and_goes_on_when_resumed(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml", name="once")
        place.drop("b.yaml")
        fakes.wait_for(lambda: "hello" in place.log(1) and len(place.jobs()) == 2)
        assert client.act("pause", 1)["pause_requested"]
        paused, _ = place.wait_for("paused", "done")
        assert (paused.reason, paused.worker_pid, paused.pause_requested) == ("paused by you", None, False)
        assert "stopping" in place.log(1), "its worker was told, and saved its state"
    with place.daemon() as client:
        place.drop("c.yaml")
        place.wait_for("paused", "done", "done")
        client.act("resume", 1)
        place.wait_for("done", "done", "done")
    with JobTable.open_readonly(place.home.database) as table:
        assert ("queued", "resumed by you") in [(event.state, event.reason) for event in table.history(1)]


def test_a_paused_queue_starts_nothing_over_a_restart_and_lets_what_runs_go_on(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml", name="sleep")
        fakes.wait_for(lambda: "hello" in place.log(1))
        assert client.act_on_queue("pause")["jobs"] == []
        place.drop("b.yaml")
        place.wait_for("precomputing", "queued")
        since = client.status()["queue"]["paused_at"]
        client.act("cancel", 1)
        place.wait_for("cancelled", "queued")
    with place.daemon() as client:
        assert client.status()["queue"]["paused_at"] == since
        place.drop("c.yaml")
        fakes.wait_for(lambda: len(place.jobs()) == 3)
        assert [job.state for job in place.jobs()] == ["cancelled", "queued", "queued"]
        client.act_on_queue("resume")
        place.wait_for("cancelled", "done", "done")


def test_all_pauses_the_running_job_too_and_resumes_it(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml", name="once")
        place.drop("b.yaml")
        fakes.wait_for(lambda: "hello" in place.log(1) and len(place.jobs()) == 2)
        assert [job["id"] for job in client.act_on_queue("pause-all")["jobs"]] == [1]
        place.wait_for("paused", "queued")
        assert [job["id"] for job in client.act_on_queue("resume-all")["jobs"]] == [1]
        place.wait_for("done", "done")


def test_a_cancelled_job_is_retried_by_the_daemon(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml", name="once")
        fakes.wait_for(lambda: "hello" in place.log(1))
        client.act("cancel", 1)
        place.wait_for("cancelled")
        client.act("retry", 1)
        (done,) = place.wait_for("done")
        assert done.attempt == 2


def test_jobs_run_by_priority_and_after_those_they_name(place: Place) -> None:
    with place.daemon() as client:
        client.act_on_queue("pause")
        place.drop("a.yaml")
        fakes.wait_for(lambda: len(place.jobs()) == 1)
        place.drop("b.yaml", priority=5, after=[1])
        fakes.wait_for(lambda: len(place.jobs()) == 2)
        place.drop("c.yaml", priority=1)
        fakes.wait_for(lambda: len(place.jobs()) == 3)
        fakes.wait_for(lambda: {job.waiting for job in place.jobs()} == {"the queue is paused by you"})
        client.act_on_queue("resume")
        jobs = place.wait_for("done", "done", "done")
    assert [job.id for job in sorted(jobs, key=lambda job: job.started_at or 0)] == [3, 1, 2]


def test_a_job_after_one_that_fails_fails_with_its_own_dependents(place: Place) -> None:
    with place.daemon() as client:
        place.drop("a.yaml", name="once")
        fakes.wait_for(lambda: "hello" in place.log(1))
        place.drop("b.yaml", after=[1])
        fakes.wait_for(lambda: len(place.jobs()) == 2)
        place.drop("c.yaml", after=[2])
        fakes.wait_for(lambda: [job.waiting for job in place.jobs()] == ["", "waits for job 1", "waits for job 2"])
        client.act("cancel", 1)
        *_, second, third = place.wait_for("cancelled", "failed", "failed")
        assert second.reason == "job 1, which it was to run after, was cancelled"
        assert third.reason == "job 2, which it was to run after, failed"
        for job_id in (1, 2, 3):
            client.act("retry", job_id)
        place.wait_for("done", "done", "done")


def test_a_job_after_one_that_is_not_there_is_rejected(place: Place) -> None:
    with place.daemon():
        place.drop("a.yaml", after=[1])  # as if after itself
        fakes.wait_for(lambda: bool(place.rejected()))
        assert place.rejected()["a.yaml"] == "a.yaml: after: there is no job 1"
        assert place.jobs() == []


def test_a_job_starts_when_its_moment_has_come(place: Place) -> None:
    moment = datetime.now() + timedelta(seconds=1)
    with place.daemon():
        place.drop("a.yaml", not_before=moment.isoformat())
        place.drop("b.yaml", not_before="2999-01-01 02:00")
        done, waits = place.wait_for("done", "queued")
        assert done.started_at is not None
        assert done.started_at >= moment.timestamp()
        assert waits.waiting == "not before 2999-01-01 02:00"


def test_a_job_whose_end_could_not_be_written_is_put_back_and_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = JobTable.transition, ["done", "failed"]

    def transition(self: JobTable, job_id: int, state: State, *rest: Any) -> Job:
        if failures and state == failures[0]:
            failures.pop(0)
            raise JobTableError("the disk is full")
        return real(self, job_id, state, *rest)

    monkeypatch.setattr(JobTable, "transition", transition)
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
    assert failures == []


def test_jobs_run_together_as_far_as_the_limits_allow(place: Place) -> None:
    limits = QUICK.model_copy(update={"parallel": 3, "groups": {"one": 1}})
    with place.daemon(limits) as client:
        place.drop("a.yaml", name="sleep@training", group="one")
        fakes.wait_for(lambda: "hello from training" in place.log(1))
        place.drop("b.yaml", group="one")
        place.drop("c.yaml", name="sleep@training")
        fakes.wait_for(lambda: len(place.jobs()) == 3)
        waits = next(job for job in place.jobs() if job.source.endswith("-b.yaml"))
        runs = next(job for job in place.jobs() if job.source.endswith("-c.yaml"))
        fakes.wait_for(lambda: "hello from training" in place.log(runs.id))
        assert [job["id"] for job in client.status()["active"]] == [1, runs.id]
        fakes.wait_for(
            lambda: {job.id: job.waiting for job in place.jobs()}[waits.id].startswith("waits for job 1: group")
        )
        client.act("cancel", 1)
        fakes.wait_for(lambda: {job.id: job.state for job in place.jobs()}[waits.id] == "done")
        assert client.stop(10)
    assert {job.state for job in place.jobs()} == {"cancelled", "done", "queued"}
    with place.daemon() as client:
        fakes.wait_for(lambda: place.log(runs.id).count("hello from training") == 2)


def test_the_second_job_of_a_reference_waits_until_the_first_has_scored(place: Place) -> None:
    with place.daemon(QUICK.model_copy(update={"parallel": 4})) as client:
        place.drop("a.yaml", name="sleep")
        fakes.wait_for(lambda: "hello from precompute" in place.log(1))
        place.drop("b.yaml")
        said = "waits for job 1 to score with the same reference"
        fakes.wait_for(lambda: len(place.jobs()) == 2 and place.jobs()[1].waiting == said)
        other = fakes.model_folder(place.folder / "other")
        place.drop("c.yaml", reference={"model": str(other)})
        place.wait_for("precomputing", "queued", "done")
        place.drop("d.yaml", loss={"name": "cpo"})
        place.wait_for("precomputing", "queued", "done", "done")
        client.act("pause", 1)
        place.wait_for("paused", "done", "done", "done")


def test_what_cannot_be_asked_of_a_job_is_a_conflict_in_words(place: Place) -> None:
    with JobTable.open(place.home.database) as table:
        table.add(JobSpec.model_validate_json(fakes.spec_text(place.folder)), "a", owner=f"run:{os.getpid()}")
    with place.daemon() as client:
        with pytest.raises(ControlError, match=r"^job 1 is run by `prefd run` \(run:\d+\): end it there") as caught:
            client.act("pause", 1)
        assert caught.value.status == 409


def test_a_job_found_running_after_a_crash_goes_on(place: Place) -> None:
    spec = JobSpec.model_validate_json(fakes.spec_text(place.folder))
    with JobTable.open(place.home.database) as table:
        for source in ("a", "b", "c", "d", "e"):
            table.add(spec, source)
        table.transition(1, "precomputing")
        table.transition(2, "training")
        table.request_cancel(2)
        table.transition(4, "training")
        table.request_pause(4)
        table.request_pause(5)
    with place.daemon():
        *_, paused, _ = place.wait_for("done", "cancelled", "done", "paused", "paused")
        assert paused.reason == "paused by you"
    with JobTable.open_readonly(place.home.database) as table:
        assert "the daemon ended while it ran; it goes on from where it stood" in [
            event.reason for event in table.history(1)
        ]


def test_the_worker_of_a_dead_daemon_is_ended_before_its_job_goes_on(place: Place) -> None:
    with JobTable.open(place.home.database) as table:
        job = table.add(JobSpec.model_validate_json(fakes.spec_text(place.folder)), "a")
        table.transition(job.id, "training")
        with subprocess.Popen(["sleep", "60"], start_new_session=True) as orphan:
            found = service.ProcessId.of(orphan.pid)
            assert found is not None
            table.set_worker(job.id, found.pid, found.started)
            with place.daemon():
                place.wait_for("done")
                assert orphan.wait(5) == -signal.SIGTERM


def test_a_foreign_process_with_the_workers_old_pid_is_left_alone(place: Place) -> None:
    with JobTable.open(place.home.database) as table:
        job = table.add(JobSpec.model_validate_json(fakes.spec_text(place.folder)), "a")
        table.transition(job.id, "training")
        with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
            table.set_worker(job.id, stranger.pid, time.time() - 10_000)
            with place.daemon():
                place.wait_for("done")
            assert stranger.poll() is None
            stranger.kill()


def test_a_claimed_file_without_a_row_becomes_its_job_after_a_restart(place: Place) -> None:
    name = "01J00000000000000000000000-a.yaml"
    (place.home.accepted / name).write_text(fakes.spec_text(place.folder, name=""))
    for _ in range(2):
        with place.daemon():
            (job,) = place.wait_for("done")
            assert (job.source, job.name) == (name, "a")


def test_jobs_of_prefd_run_are_left_to_it_until_it_is_gone(place: Place) -> None:
    spec = JobSpec.model_validate_json(fakes.spec_text(place.folder))
    with JobTable.open(place.home.database) as table:
        table.transition(table.add(spec, "a", owner=f"run:{os.getpid()}").id, "training")
        table.transition(table.add(spec, "b", owner="run:4194305").id, "training")
        table.add(spec, "c", owner="run:nonsense")
    with place.daemon():
        _, gone, _ = place.wait_for("training", "failed", "failed")
        assert gone.reason == "the process that ran it (run:4194305) is gone"


def test_an_unexpected_failure_is_the_jobs_not_the_daemons(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    real = supervisor.freeze

    def full(home: Home, job_id: int, spec: JobSpec) -> Any:
        if job_id == 1:
            raise OSError(28, "No space left on device")
        return real(home, job_id, spec)

    monkeypatch.setattr(supervisor, "freeze", full)
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("failed")
        place.drop("b.yaml")
        failed, _ = place.wait_for("failed", "done")
        assert "No space left on device" in failed.reason


def test_a_failure_at_the_claim_is_tried_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [OSError(28, "No space left on device")] * 3
    real = JobTable.add_all

    def add(self: JobTable, *arguments: Any, **more: Any) -> list[Job]:
        if failures:
            raise failures.pop()
        return real(self, *arguments, **more)

    monkeypatch.setattr(JobTable, "add_all", add)
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
    assert failures == []


def test_a_watched_folder_that_is_deleted_is_made_again(place: Place) -> None:
    with place.daemon():
        place.home.jobs.rename(place.folder / "away")
        fakes.wait_for(place.home.rejected.is_dir)
        place.drop("a.yaml")
        place.wait_for("done")


def test_folders_deleted_at_any_moment_are_survived(place: Place) -> None:
    with place.daemon():
        for _ in range(30):
            for folder in (place.home.accepted, place.home.rejected, place.home.jobs):
                with suppress(OSError):  # the daemon may be making it again
                    folder.rmdir()
            time.sleep(0.01)
        fakes.wait_for(place.home.rejected.is_dir)
        place.drop("a.yaml")
        place.wait_for("done")


def test_a_dead_watcher_leaves_a_daemon_that_rescans(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead(*_: object, **__: object) -> None:
        raise RuntimeError("no inotify here")

    monkeypatch.setattr(watch, "awatch", dead)
    with place.daemon() as client:
        place.drop("a.yaml")
        place.wait_for("done")
        watcher = client.status()["watcher"]
        assert (watcher["mode"], watcher["error"]) == ("polling", "RuntimeError: no inotify here")


def test_a_burst_of_files_is_claimed_once_each(place: Place) -> None:
    spec = fakes.spec_text(place.folder, name="")
    with place.daemon() as client:
        place.drop("0.yaml", name="sleep")
        for number in range(1, 200):
            (place.home.jobs / f"{number}.yaml").write_text(spec)
        fakes.wait_for(lambda: len(place.jobs()) == 200, 30)
        client.stop(10)
    assert sorted(job.name for job in place.jobs() if job.id > 1) == sorted(str(number) for number in range(1, 200))


# --- as a process


SERVE = (
    "import json, sys; from pathlib import Path; from prefd.daemon.home import Home; from prefd.daemon import service\n"
    "service.serve(Home(Path(sys.argv[1])), json.loads(sys.argv[2]))"
)


@contextmanager
def process(place: Place) -> Iterator["subprocess.Popen[str]"]:
    place.home.config.write_text("stop_grace_seconds = 5\n[watch]\nsettle_seconds = 0.05\n")
    command = [sys.executable, "-c", SERVE, str(place.home.root), json.dumps(place.worker)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as child:
        try:
            fakes.wait_for(lambda: answers(Client(place.home)), 20)
            yield child
        finally:
            child.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(place: Place, number: signal.Signals) -> None:
    with process(place) as daemon:
        place.drop("a.yaml", name="sleep")
        fakes.wait_for(lambda: "hello" in place.log(1))
        daemon.send_signal(number)
        _, stderr = daemon.communicate(timeout=10)
        assert daemon.returncode == 0
        assert stderr.rstrip().endswith("INFO stopped")
        assert "Traceback" not in stderr
    (job,) = place.jobs()
    assert job.state == "queued"
    assert list(place.home.run.iterdir()) == [place.home.lock]


@pytest.mark.slow
def test_after_kill_9_the_job_goes_on_and_nothing_runs_twice(place: Place) -> None:
    with process(place) as daemon:
        place.drop("a.yaml", name="once")
        place.drop("b.yaml")
        fakes.wait_for(lambda: "hello" in place.log(1) and len(place.jobs()) == 2)
        daemon.kill()
        daemon.wait()
    with process(place):
        place.wait_for("done", "done")
    assert "stopping" in place.log(1)  # the orphan was told to save its state


@pytest.mark.slow
def test_after_kill_9_a_job_that_was_being_paused_is_paused(place: Place) -> None:
    with process(place) as daemon:
        place.drop("a.yaml", name="deaf")  # its worker takes all of the grace to end
        place.drop("b.yaml")
        fakes.wait_for(lambda: "hello" in place.log(1) and len(place.jobs()) == 2)
        Client(place.home).act("pause", 1)
        daemon.kill()
        daemon.wait()
        assert place.jobs()[0].state == "precomputing"
    with process(place):
        place.wait_for("paused", "done")


@pytest.mark.slow
def test_the_second_daemon_is_told_who_serves_the_home(place: Place) -> None:
    with process(place) as first:
        command = [sys.executable, "-c", SERVE, str(place.home.root), json.dumps(place.worker)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert second.returncode == 1
        assert f"AlreadyRunning: another daemon (pid {first.pid}, since" in second.stderr
        assert answers(Client(place.home))
