"""What a disk or a mount refuses at a claim is tried again: nothing is lost, run twice, or told every second."""

import errno
import logging
import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.home.settings import Config, WatchConfig
from prefd.daemon.inbox import claims, intake
from prefd.daemon.inbox.claimed_file import Claimed
from prefd.daemon.inbox.claims import Inbox
from prefd.daemon.jobs.table import JobTable, JobTableError
from prefd.daemon.machine import mounts
from prefd.daemon.machine.mounts import Mount
from prefd.daemon.specs import listing_child
from support import fake_worker
from support.quick_timing import QUICK_TIMING
from support.running_daemon import Place, fail_first

CODES = {code: os.strerror(code) for code in (errno.ENOSPC, errno.EMFILE, errno.EIO, errno.ESTALE)}


def refusals(code: int, count: int = 3) -> list[Exception]:
    return [OSError(code, CODES[code]) for _ in range(count)]


def into(folder: Path) -> Any:
    """Whether a rename goes into `folder`."""
    return lambda _, target, *__: Path(target).parent == folder


def list_messages(caplog: pytest.LogCaptureFixture, what: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if what in record.getMessage()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ("the look", errno.EMFILE),
        ("the opening", errno.EMFILE),
        ("the rename", errno.ENOSPC),
        ("the flush", errno.EIO),
        ("the reading", errno.EIO),
        ("the listing of losses", errno.EMFILE),
        ("the row", errno.ENOSPC),
    ],
)
def test_whatever_fails_at_a_claim_is_tried_again_and_told_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str, code: int
) -> None:
    failures = refusals(code, 2)
    match step:
        case "the look":
            fail_first(monkeypatch, Inbox, "list_complete", failures)
        case "the opening":
            fail_first(monkeypatch, claims, "open_regular", failures)
        case "the rename":
            fail_first(monkeypatch, os, "rename", failures, into(place.home.accepted))
        case "the flush":
            fail_first(monkeypatch, claims, "flush", failures)
        case "the reading":
            fail_first(monkeypatch, Claimed, "read", failures)
        case "the listing of losses":
            fail_first(monkeypatch, listing_child.subprocess, "Popen", failures)
        case "the row":
            failures = [JobTableError(f"{place.home.database}: {CODES[code]}")] * 2
            fail_first(monkeypatch, JobTable, "add_all", failures)
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
    assert failures == []
    assert [path.name for path in place.home.accepted.glob("[!.]*")] == [job.source for job in place.jobs()]
    assert names(place.home.jobs) == ["accepted", "rejected"]
    messages = list_messages(caplog, CODES[code])
    messages = [
        line for line in messages if not line.startswith("the losses cannot be listed")
    ]  # that is told by itself
    assert len(messages) <= 1, messages
    assert messages or step in ("the opening", "the listing of losses"), (
        "these failed at a look that is made again anyway"
    )


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), RuntimeError("can't start new thread")])
def test_files_claimed_before_a_look_failed_are_not_forgotten(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    fail_first(monkeypatch, Inbox, "claim", [error], lambda _, name: name == "b.yaml")
    for name in ("a.yaml", "b.yaml"):
        place.drop(name, name="")
        os.utime(place.home.jobs / name, (ord(name[0]),) * 2)
    with place.daemon():
        assert {job.name for job in place.wait_for("done", "done")} == {"a", "b"}


@pytest.mark.parametrize("step", ["the reason", "the reason's name", "the move"])
def test_a_rejection_that_fails_is_made_once_it_can_be(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    failures = refusals(errno.ENOSPC)
    if step == "the reason":
        fail_first(monkeypatch, Path, "open", failures, lambda path, *_: path.parent == place.home.rejected)
    elif step == "the reason's name":
        fail_first(monkeypatch, Path, "replace", failures, lambda _, target: str(target).endswith(".error.txt"))
    else:
        fail_first(monkeypatch, os, "rename", failures, into(place.home.rejected))
    with place.daemon() as client:
        place.drop("a.yaml", "nonsense: true")
        fake_worker.wait_for(lambda: "a.yaml" in names(place.home.rejected))
        place.drop("b.yaml")
        place.wait_for("done")
        fake_worker.wait_for(lambda: client.status().watcher.left_alone == {})
    assert failures == []
    assert names(place.home.rejected) == ["a.yaml", "a.yaml.error.txt"]
    assert "nonsense: unknown key" in place.rejected()["a.yaml"]
    assert len(list_messages(caplog, "No space left")) == 1


def test_a_spec_that_was_put_right_gets_its_new_reason_in_the_old_ones_place(place: Place) -> None:
    with place.daemon():
        for fault in ("one", "two"):
            place.drop("a.yaml", f"{fault}: true")
            fake_worker.wait_for(lambda fault=fault: f"{fault}: unknown" in place.rejected().get("a.yaml", ""))
            (place.home.rejected / "a.yaml").unlink()
    assert names(place.home.rejected) == ["a.yaml.error.txt"]


def test_what_cannot_be_claimed_stands_in_the_status_until_it_is_gone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_first(monkeypatch, os, "rename", refusals(errno.EIO, 10_000), into(place.home.accepted))
    os.mkfifo(place.home.jobs / "pipe.yaml")
    with place.daemon() as client:
        place.drop("a\x1b[31m.yaml")
        fake_worker.wait_for(lambda: len(client.status().watcher.left_alone) == 2)
        left = client.status().watcher.left_alone
        assert left["'pipe.yaml'"].startswith("is not a regular file and is left alone")
        assert left[r"'a\x1b[31m.yaml'"] == f"cannot be claimed and stays in {place.home.jobs}: Input/output error"
        for path in place.home.jobs.glob("*.yaml"):
            path.unlink()
        fake_worker.wait_for(lambda: client.status().watcher.left_alone == {})


def test_a_folder_that_cannot_be_looked_at_stands_in_the_status_until_it_can(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = refusals(errno.ESTALE, 10_000)
    fail_first(monkeypatch, Inbox, "list_complete", failures)
    caplog.set_level(logging.INFO)
    with place.daemon() as client:
        place.drop("a.yaml")
        fake_worker.wait_for(lambda: client.status().watcher.folder == "Stale file handle")
        failures.clear()
        place.wait_for("done")
        fake_worker.wait_for(lambda: client.status().watcher.folder is None)
    assert len(list_messages(caplog, "Stale file handle")) == 1
    assert len(list_messages(caplog, "can be claimed from again")) == 1


def test_a_folder_that_hangs_holds_up_neither_the_daemon_nor_its_stop(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, real = threading.Event(), Inbox.list_complete

    def hang(self: Inbox, *arguments: Any) -> list[str]:
        answer.wait(30)
        return real(self, *arguments)

    place.timing = replace(QUICK_TIMING, slow_folder_call=0.1)
    with place.daemon() as client:
        place.drop("a.yaml", name="once")
        fake_worker.wait_for(lambda: "hello" in place.log(1))
        monkeypatch.setattr(Inbox, "list_complete", hang)
        place.drop("b.yaml")
        fake_worker.wait_for(lambda: "does not answer" in str(client.status().watcher.folder))
        client.act("cancel", 1)
        place.wait_for("cancelled")
        began = time.monotonic()
        assert client.stop(10)
        assert time.monotonic() - began < 5
    answer.set()
    with place.daemon():
        place.wait_for("cancelled", "done")


def test_a_lost_answer_to_a_rename_that_was_done_loses_no_claim(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NFS gives it when the server's answer to the first request is lost, and the request is sent again."""
    real, lost = os.rename, [True]

    def rename(source: Any, target: Any) -> None:
        real(source, target)
        if into(place.home.accepted)(source, target) and lost.pop():
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    monkeypatch.setattr(os, "rename", rename)
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")


# --- half-written files


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open")
def test_a_file_that_is_opened_again_as_it_is_claimed_is_read_when_it_is_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last look and the rename, a writer opens it, empties it and writes slowly."""
    spec, real, writers = fake_worker.spec_text(place.folder), os.rename, []

    def rename(source: Any, target: Any) -> None:
        if into(place.home.accepted)(source, target):
            writers.append(open(source, "w"))  # noqa: SIM115  # it stays open over the claim
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with place.daemon():
        place.drop("a.yaml", spec)
        fake_worker.wait_for(lambda: bool(writers))
        (writer,) = writers
        for part in (spec[:40], spec[40:80]):
            writer.write(part)
            writer.flush()
            time.sleep(0.2)
            assert place.jobs() == []
        writer.write(spec[80:])
        writer.close()
        place.wait_for("done")
        assert place.rejected() == {}


def test_a_slow_writer_who_opens_the_file_again_for_each_line_is_waited_for(place: Place) -> None:
    with place.daemon(Config(watch=WatchConfig(settle_seconds=1.5, rescan_seconds=0.2))):
        for line in fake_worker.spec_text(place.folder).split(", "):
            with (place.home.jobs / "a.yaml").open("a") as file:
                file.write(line + ", ")
            time.sleep(0.1)
        with (place.home.jobs / "a.yaml").open("r+") as file:
            file.truncate(len(file.read()) - 2)
        place.wait_for("done")
        assert place.rejected() == {}


def test_on_a_network_mount_the_settle_time_is_longer_and_leases_are_not_asked(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS 4 refuses a lease whether or not there is a writer: every file would be waited for without end."""
    listed = [Mount("/", "nfs4", "server:/")]
    monkeypatch.setattr(mounts, "list_mounts", lambda: listed)
    monkeypatch.setattr(claims, "has_writer", lambda _: True)
    place.timing = replace(QUICK_TIMING, network_settle=0.3)
    with place.daemon(Config(watch=WatchConfig(rescan_seconds=0.1, settle_seconds=0.1))):
        place.drop("a.yaml")
        place.wait_for("done")
        assert place.services[-1].intake.inbox.settle_seconds == 0.1, "it was said"
    with place.daemon(Config(watch=WatchConfig(rescan_seconds=0.1))):
        fake_worker.wait_for(lambda: not place.services[-1].intake.inbox.can_tell_writers)
        assert place.services[-1].intake.inbox.settle_seconds == 0.5


@pytest.mark.parametrize(("setting", "settles"), [({}, 0.7), ({"settle_seconds": 0.1}, 0.1)])
def test_where_nobody_can_tell_who_writes_a_file_settles_for_longer_unless_it_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch, setting: dict[str, float], settles: float
) -> None:
    monkeypatch.setattr(intake, "can_tell_writers", lambda: False)
    place.timing = replace(QUICK_TIMING, unseen_writer_settle=0.7)
    with place.daemon(Config(watch=WatchConfig(rescan_seconds=0.1, **setting))):
        fake_worker.wait_for(lambda: place.services[-1].intake.inbox.settle_seconds == settles)


# --- clocks, and the same twice


@pytest.mark.parametrize("day", [-86_400.0, 86_400.0])
def test_a_clock_that_is_set_while_files_settle_does_not_matter(
    place: Place, monkeypatch: pytest.MonkeyPatch, day: float
) -> None:
    real = time.time
    with place.daemon(Config(watch=WatchConfig(settle_seconds=1.0, rescan_seconds=0.2))):
        for age, name in enumerate(("a", "b", "c")):
            path = place.folder / f"{name}.yaml"
            path.write_text(fake_worker.spec_text(place.folder, name=""))
            os.utime(path, (real() + (age - 1) * 86_400,) * 2)
            # one that is seen before it has its time would settle later than the others
            path.rename(place.home.jobs / path.name)
        monkeypatch.setattr(time, "time", lambda: real() + day)
        jobs = place.wait_for("done", "done", "done")
        assert [job.name for job in jobs] == ["a", "b", "c"]
        place.drop("d.yaml")
        place.wait_for("done", "done", "done", "done")


def test_the_same_content_again_is_a_job_that_says_so(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with place.daemon():
        for count, name in enumerate(("a.yaml", "a.yaml", "b.yaml"), 1):
            place.drop(name, name="")
            place.wait_for(*["done"] * count)
        place.drop("c.yaml", loss={"name": "cpo"})
        place.wait_for(*["done"] * 4)
    with JobTable.open_readonly(place.home.database) as table:
        reasons = [[event.reason for event in table.history(job.id) if "same" in event.reason] for job in table.list()]
    assert reasons == [[], ["the same spec as job 1"], ["the same spec as job 2"], []]
    assert len(list_messages(caplog, "(b.yaml): the same spec as job 2")) == 1
    assert len([*place.home.accepted.glob("[!.]*")]) == 4


def test_a_restart_knows_what_was_handed_in_before_it(place: Place) -> None:
    for count in (1, 2):
        with place.daemon():
            place.drop("a.yaml")
            place.wait_for(*["done"] * count)
    with JobTable.open_readonly(place.home.database) as table:
        assert "the same spec as job 1" in [event.reason for event in table.history(2)]


def test_a_name_with_a_newline_or_an_escape_writes_no_line_of_its_own_in_the_log(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with place.daemon():
        place.drop("a\n2026-01-01 INFO stopped\x1b[2J.yaml")
        place.drop("b\n2026-01-01 INFO stopped\x1b[2J.yaml", "nonsense: 1")
        place.wait_for("done")
        fake_worker.wait_for(lambda: len(names(place.home.rejected)) == 2)
    assert all(record.getMessage().isprintable() for record in caplog.records if record.name.startswith("prefd"))
    assert all(line.isprintable() for text in place.rejected().values() for line in text.splitlines())
