import os
import socket
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.inbox import claims as inbox_module
from prefd.daemon.inbox.claims import Inbox
from prefd.daemon.inbox.submit import submit
from prefd.daemon.machine.files import shorten_name
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.reading import read_spec
from prefd.daemon.timing import Timing
from support import fake_worker

SETTLE = 0.5


@pytest.fixture
def inbox(ready_home: Home) -> Inbox:
    """One for which a file begins to settle when it is first looked at."""
    return Inbox(ready_home, SETTLE, Timing(late_notice=0.0))


def settled(inbox: Inbox, start: float = 0.0) -> list[str]:
    """What is complete when nothing changes for as long as it takes."""
    inbox.list_complete(start)
    return inbox.list_complete(start + SETTLE)


# --- which files are complete


def test_a_file_is_complete_when_it_has_not_changed_for_the_settle_time(ready_home: Home, inbox: Inbox) -> None:
    file = ready_home.jobs / "a.yaml"
    file.write_text("one")
    assert inbox.list_complete(0.0) == []
    assert inbox.due_in(0.1) == pytest.approx(0.4)
    file.write_text("one and two")
    assert inbox.list_complete(0.4) == []
    assert inbox.list_complete(0.8) == []
    assert inbox.list_complete(0.9) == ["a.yaml"]
    assert inbox.due_in(0.9) is None


@pytest.mark.parametrize(("clock", "credit"), [(0.1, 0.1), (86_400.0, 0.2), (-86_400.0, 0.0)])
def test_a_file_that_is_noticed_late_settles_from_when_it_was_put_there_within_bounds(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch, clock: float, credit: float
) -> None:
    (ready_home.jobs / "a.yaml").write_text("one")
    changed = (ready_home.jobs / "a.yaml").stat().st_ctime
    monkeypatch.setattr(inbox_module.time, "time", lambda: changed + clock)
    local, remote = Inbox(ready_home, SETTLE), Inbox(ready_home, SETTLE)
    remote.can_tell_writers = False
    for each in (local, remote):
        each.list_complete(0.0)
    assert local.due_in(0.0) == pytest.approx(SETTLE - credit)
    assert remote.due_in(0.0) == SETTLE
    assert local.list_complete(SETTLE - credit - 0.001) == []
    assert local.list_complete(SETTLE - credit + 0.001) == ["a.yaml"]


def test_a_replaced_file_settles_anew(ready_home: Home, inbox: Inbox, tmp_path: Path) -> None:
    file, other = ready_home.jobs / "a.yaml", tmp_path / "other"
    for each in (file, other):
        each.write_text("same")
        os.utime(each, ns=(10**18, 10**18))
    inbox.list_complete(0.0)
    other.rename(file)
    assert inbox.list_complete(0.6) == []
    assert inbox.list_complete(1.2) == ["a.yaml"]


def test_an_empty_file_is_given_longer(ready_home: Home, inbox: Inbox) -> None:
    (ready_home.jobs / "a.yaml").touch()
    inbox.list_complete(0.0)
    assert inbox.list_complete(1.9) == []
    assert inbox.list_complete(2.0) == ["a.yaml"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open")
def test_a_file_that_is_open_for_writing_is_not_complete(
    ready_home: Home, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    with (ready_home.jobs / "a.yaml").open("w") as file:
        file.write("half")
        file.flush()
        inbox.list_complete(0.0)
        assert inbox.list_complete(20.0) == []
        assert inbox.due_in(20.0) == SETTLE / 2
        for now in (40.0, 41.0):
            assert inbox.list_complete(now) == []
        assert caplog.text.count("still open for writing") == 1
    assert inbox.list_complete(42.0) == ["a.yaml"]


def test_the_oldest_comes_first(ready_home: Home, inbox: Inbox) -> None:
    for age, name in enumerate(("c.yaml", "a.json", "b.toml")):
        (ready_home.jobs / name).write_text("x")
        os.utime(ready_home.jobs / name, (1000 + age, 1000 + age))
    assert settled(inbox) == ["c.yaml", "a.json", "b.toml"]


@pytest.mark.parametrize(
    "name", [".hidden.yaml", "a.yaml~", ".a.yaml.swp", "a.yaml.tmp", "a.part", "a.yaml.crdownload", "#a.yaml#", "4913~"]
)
def test_editors_leavings_and_partial_names_are_passed_over(ready_home: Home, inbox: Inbox, name: str) -> None:
    (ready_home.jobs / name).write_text("x")
    assert settled(inbox) == []
    assert inbox.due_in() is None


def test_what_is_not_a_regular_file_is_never_opened_and_reported_once(
    ready_home: Home, inbox: Inbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "secret").write_text("model: x")
    (ready_home.jobs / "link.yaml").symlink_to(tmp_path / "secret")
    (ready_home.jobs / "folder.yaml").mkdir()
    os.mkfifo(ready_home.jobs / "fifo.yaml")
    (ready_home.jobs / "dangling.yaml").symlink_to(tmp_path / "nothing")
    if sys.platform == "linux":  # macOS has no such names
        os.mknod(os.fsencode(ready_home.jobs) + b"/bad\xff.yaml")
    assert settled(inbox) == []
    assert settled(inbox, 10.0) == []
    for name in ["link.yaml", "folder.yaml", "fifo.yaml", "dangling.yaml"] + ["bad"] * (sys.platform == "linux"):
        assert sum(name in record.getMessage() for record in caplog.records) == 1
    (ready_home.jobs / "fifo.yaml").unlink()
    inbox.list_complete()
    os.mkfifo(ready_home.jobs / "fifo.yaml")
    inbox.list_complete()
    assert sum("fifo.yaml" in record.getMessage() for record in caplog.records) == 2


def test_sockets_and_devices_are_left_alone_too(
    ready_home: Home, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ready_home.jobs)  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.yaml")
    with suppress(PermissionError):  # only root makes one
        os.mknod("device.yaml", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    assert settled(inbox) == []
    assert set(inbox.left_alone.values()) == {"is not a regular file and is left alone: copy the spec itself"}
    assert "'socket.yaml'" in inbox.left_alone


def test_a_folder_that_is_gone_is_the_callers_to_mend(ready_home: Home, inbox: Inbox) -> None:
    ready_home.jobs.rename(ready_home.root / "away")
    with pytest.raises(OSError, match="jobs"):
        inbox.list_complete()


# --- claiming


def test_a_claim_moves_the_file_and_the_same_name_again_is_another_claim(ready_home: Home, inbox: Inbox) -> None:
    sources = set()
    for text in ("first", "second"):
        (ready_home.jobs / "a.yaml").write_text(text)
        claimed = inbox.claim("a.yaml")
        assert claimed is not None
        assert (claimed.name, claimed.read(10_000)) == ("a.yaml", text.encode())
        assert claimed.source.endswith("-a.yaml")
        sources.add(claimed.source)
    assert {path.name for path in ready_home.accepted.glob("[!.]*")} == sources
    assert len(sources) == 2


def test_a_file_that_changed_since_it_was_complete_is_not_claimed_and_settles_anew(
    ready_home: Home, inbox: Inbox
) -> None:
    (ready_home.jobs / "a.yaml").write_text("one")
    now = time.monotonic()
    inbox.list_complete(now - SETTLE)
    assert inbox.list_complete(now) == ["a.yaml"]
    (ready_home.jobs / "a.yaml").write_text("one and two")
    assert inbox.claim("a.yaml") is None
    assert inbox.due_in() is not None
    assert inbox.list_complete(now + SETTLE / 2) == []
    assert inbox.list_complete(now + 3 * SETTLE) == ["a.yaml"]
    claimed = inbox.claim("a.yaml")
    assert claimed is not None
    assert claimed.read(100) == b"one and two"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open")
def test_a_file_that_was_opened_since_it_was_complete_is_not_claimed(ready_home: Home, inbox: Inbox) -> None:
    (ready_home.jobs / "a.yaml").write_text("one")
    assert settled(inbox) == ["a.yaml"]
    with (ready_home.jobs / "a.yaml").open("a"):
        assert inbox.claim("a.yaml") is None
    assert inbox.claim("a.yaml") is not None


def test_a_kept_claim_settles_and_is_forgotten_when_someone_takes_it(ready_home: Home, inbox: Inbox) -> None:
    (ready_home.jobs / "a.yaml").write_text("one")
    claimed = inbox.claim("a.yaml")
    assert claimed is not None
    inbox.keep(claimed, "is tried again", now=0.0)
    assert inbox.left_alone == {repr(claimed.source): "is tried again"}
    claimed.path.write_text("one and two")
    assert [inbox.take_settled(SETTLE), inbox.take_settled(1.9 * SETTLE), inbox.take_settled(2 * SETTLE)] == [
        [],
        [],
        [claimed],
    ]
    inbox.forget_report(claimed)
    assert inbox.left_alone == {}
    inbox.keep(claimed, now=0.0)
    claimed.path.unlink()
    assert inbox.take_settled(SETTLE) == []
    assert inbox.due_in() is None


def test_a_file_that_went_away_is_no_claim(inbox: Inbox) -> None:
    assert inbox.claim("gone.yaml") is None


def test_a_symlink_put_in_its_place_is_not_followed(
    ready_home: Home, inbox: Inbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "secret").write_text("secret")
    (ready_home.jobs / "a.yaml").symlink_to(tmp_path / "secret")
    assert inbox.claim("a.yaml") is None
    assert "cannot be claimed and stays" in caplog.text
    assert (ready_home.jobs / "a.yaml").is_symlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_stays_and_is_reported_once(
    ready_home: Home, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    (ready_home.jobs / "a.yaml").write_text("x")
    (ready_home.jobs / "a.yaml").chmod(0)
    assert [inbox.claim("a.yaml"), inbox.claim("a.yaml")] == [None, None]
    assert caplog.text.count("Permission denied") == 1


@pytest.mark.parametrize(
    "name", ["x" * 250 + ".yaml", "é" * 120 + ".json", "two\nlines.yaml", "-rf.yaml", "a b;c.yaml"]
)
def test_any_name_the_file_system_takes_can_be_claimed_and_rejected(ready_home: Home, inbox: Inbox, name: str) -> None:
    (ready_home.jobs / name).write_text("x")
    claimed = inbox.claim(name)
    assert claimed is not None
    target = inbox.reject(claimed, ("no good",))
    assert target.with_name(f"{target.name}.error.txt").read_text() == "no good\n"
    assert target.suffix == Path(name).suffix


def test_only_as_much_as_a_spec_may_have_is_read(ready_home: Home, inbox: Inbox) -> None:
    (ready_home.jobs / "a.yaml").write_bytes(b"x" * 1_000_000)
    claimed = inbox.claim("a.yaml")
    assert claimed is not None
    assert len(claimed.read(1000)) == 1001


def test_a_crash_between_claim_and_row_is_found(ready_home: Home, inbox: Inbox, tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (ready_home.jobs / name).write_text(name)
    recorded, lost = inbox.claim("a.yaml"), inbox.claim("b.yaml")
    assert recorded is not None
    (ready_home.accepted / "notes.txt").write_text("someone's own")
    (ready_home.accepted / ("0" * 26 + "-link.yaml")).symlink_to(tmp_path)
    (ready_home.accepted / ("0" * 26 + "-folder.yaml")).mkdir()
    after = Inbox(ready_home, SETTLE)
    after.keep_claims_without_jobs({recorded.source})
    assert after.take_settled() == []
    assert after.take_settled(time.monotonic() + SETTLE) == [lost]
    assert after.take_settled(time.monotonic() + SETTLE) == []


# --- rejecting


def test_rejecting_the_same_name_twice_keeps_both(ready_home: Home, inbox: Inbox) -> None:
    for text in ("first", "second"):
        (ready_home.jobs / "a.yaml").write_text(text)
        claimed = inbox.claim("a.yaml")
        assert claimed is not None
        inbox.reject(claimed, (f"{text} is wrong", "and this too"))
    assert {path.name: path.read_text() for path in ready_home.rejected.iterdir()} == {
        "a.yaml": "first",
        "a.yaml.error.txt": "first is wrong\nand this too\n",
        "a-2.yaml": "second",
        "a-2.yaml.error.txt": "second is wrong\nand this too\n",
    }
    assert list(ready_home.accepted.iterdir()) == []


# --- submitting


def test_a_submitted_spec_reads_back_as_itself_and_overwrites_nothing(ready_home: Home, tmp_path: Path) -> None:
    spec = JobSpec.model_validate_json(fake_worker.spec_text(tmp_path, name="mine", loss={"name": "ipo", "beta": 0.5}))
    spec = spec.resolved(tmp_path)
    paths = [submit(ready_home, spec.model_dump(mode="json"), "smol.ipo.yaml") for _ in range(3)]
    assert [path.name for path in paths] == ["smol.ipo.json", "smol.ipo-2.json", "smol.ipo-3.json"]
    assert sorted(path.name for path in ready_home.jobs.iterdir() if path.is_file()) == sorted(
        path.name for path in paths
    )
    for path in paths:
        assert read_spec(path.read_bytes(), path.name) == spec


def test_submit_needs_no_daemon_and_no_home_yet(home: Path, tmp_path: Path) -> None:
    spec = JobSpec.model_validate_json(fake_worker.spec_text(tmp_path))
    assert submit(Home(home), spec.model_dump(mode="json"), ".").name == "job.json"


def test_submit_works_where_there_are_no_hard_links(
    ready_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    spec = JobSpec.model_validate_json(fake_worker.spec_text(tmp_path))
    assert [submit(ready_home, spec.model_dump(mode="json"), "a").name for _ in range(2)] == ["a.json", "a-2.json"]


def test_names_are_cut_between_characters() -> None:
    assert shorten_name("a.yaml") == "a.yaml"
    cut = shorten_name("é" * 200 + ".yaml")
    assert cut.endswith("é.yaml")
    assert len(cut.encode()) <= 180
