"""Specs in a folder of iCloud whose contents are taken off the disk before, at and after their claim: told, asked for, never lost."""

from __future__ import annotations

import errno
import os

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.inbox import claimed_file, claims
from prefd.daemon.inbox.claimed_file import Claimed
from prefd.daemon.inbox.claims import CLOUD_LOOK_SECONDS, Inbox
from prefd.daemon.machine.cloud import ASKED_FOR, IN_CLOUD, InCloud
from prefd.daemon.timing import Timing
from support import fake_worker
from support.fake_cloud import FakeCloud, fake_cloud
from support.running_daemon import Place, fail_first

SETTLE = 0.5


@pytest.fixture
def inbox(ready_home: Home) -> Inbox:
    return Inbox(ready_home, SETTLE, Timing(late_notice=0.0))


@pytest.fixture
def clouds(monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    return fake_cloud(monkeypatch)


def claim(inbox: Inbox, start: float = 0.0) -> list[str]:
    """The names of what is claimed when nothing changes for as long as it takes."""
    inbox.list_complete(start)
    names = inbox.list_complete(start + SETTLE)
    return [claimed.name for name in names if (claimed := inbox.claim(name)) is not None]


def test_a_spec_that_is_not_there_yet_is_asked_for_and_holds_up_no_other(
    ready_home: Home, inbox: Inbox, clouds: FakeCloud
) -> None:
    for name in ("away.yaml", "here.yaml"):
        (ready_home.jobs / name).write_text("x")
    clouds.evict(ready_home.jobs / "away.yaml")
    assert claim(inbox) == ["here.yaml"]
    assert inbox.left_alone == {"'away.yaml'": ASKED_FOR}
    assert set(clouds.asked) == {ready_home.jobs / "away.yaml"}
    clouds.bring(ready_home.jobs / "away.yaml")
    assert claim(inbox, 10.0) == ["away.yaml"]
    inbox.list_complete(20.0)
    assert inbox.left_alone == {}


def test_one_that_goes_away_at_its_claim_is_not_read(
    ready_home: Home, inbox: Inbox, clouds: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ready_home.jobs / "a.yaml").write_text("x")
    inbox.list_complete(0.0)
    assert inbox.list_complete(SETTLE) == ["a.yaml"]
    clouds.evict(ready_home.jobs / "a.yaml")
    monkeypatch.setattr(os, "pread", lambda *_: pytest.fail("it was read"))
    assert inbox.claim("a.yaml") is None
    assert inbox.left_alone == {"'a.yaml'": ASKED_FOR}
    assert (ready_home.jobs / "a.yaml").exists()


@pytest.mark.parametrize("code", [errno.EDEADLK, errno.ETIMEDOUT, errno.EIO])
def test_one_that_cannot_be_read_at_its_claim_stays_and_holds_up_no_other(
    ready_home: Home, inbox: Inbox, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    for name in ("a.yaml", "b.yaml"):
        (ready_home.jobs / name).write_text("x")
    fail_first(monkeypatch, os, "pread", [OSError(code, os.strerror(code))])
    assert claim(inbox) == ["b.yaml"]
    assert os.strerror(code) in inbox.left_alone["'a.yaml'"]
    assert claim(inbox, 10.0) == ["a.yaml"]


def test_a_claimed_one_that_goes_away_is_told_and_read_when_it_is_back(place: Place, clouds: FakeCloud) -> None:
    """The daemon is killed between the rename and the row, macOS takes the file off the disk, and another daemon begins."""
    source = place.home.accepted / "01KB8Z6T00ABCDEFGHJKMNPQRS-a.yaml"
    with place.daemon():
        pass
    source.write_text(fake_worker.spec_text(place.folder))
    claims.make_mark(source)
    clouds.evict(source)
    with place.daemon() as client:
        fake_worker.wait_for(lambda: "is in the cloud and not on this Mac" in str(client.status().watcher.left_alone))
        assert place.jobs() == []
        clouds.bring(source)
        place.wait_for("done")


def test_one_that_has_something_standing_for_it_is_kept_and_looked_at_now_and_then(
    ready_home: Home, inbox: Inbox, clouds: FakeCloud
) -> None:
    source = ready_home.accepted / "01KB8Z6T00ABCDEFGHJKMNPQRS-a.yaml"
    standing = source.with_name(f".{source.name}.icloud")
    standing.touch()
    claims.make_mark(source)
    inbox.keep_claims_without_jobs(set())
    for now in (0.0, 1.0, 2.0):
        assert inbox.take_settled(now) == []
    assert IN_CLOUD in inbox.left_alone[repr(source.name)]
    assert (inbox.due_in(2.0) or 0.0) > CLOUD_LOOK_SECONDS - 1
    with pytest.raises(InCloud, match="open it once in Finder"):
        Claimed.from_path(source).read(100)
    source.write_text("x")
    standing.unlink()
    assert [claimed.name for now in (10.0, 20.0) for claimed in inbox.take_settled(now)] == ["a.yaml"]
    assert claimed_file.is_marked(source), "its claim goes on"


def test_a_claimed_file_is_not_read_for_what_it_says_while_it_is_away(
    ready_home: Home, clouds: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ready_home.accepted / "01KB8Z6T00ABCDEFGHJKMNPQRS-a.yaml"
    source.write_text("x")
    clouds.evict(source)
    with pytest.raises(InCloud, match="it is asked for, and waited for"):
        Claimed.from_path(source).read(100)
