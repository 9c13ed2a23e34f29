"""Claims: what others see of them, and when they are forgotten. They are hints, and trouble with them stops nobody."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from prefd.cache import claims
from prefd.cache.claims import Claim, ClaimFolder, Claims, Owner
from prefd.cache.shared.claims import BucketClaims
from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep.strays import find_strays
from support.cache_entries import FINGERPRINT, KEYS
from support.mirrors import connect_mirror


@pytest.fixture(params=["a folder", "an object store"])
def writers(request: pytest.FixtureRequest, tmp_path: Path) -> list[Claims]:
    """Three writers to one cache."""
    if request.param == "a folder":
        return [ReferenceCache.open(tmp_path / "cache").reference(FINGERPRINT).open_claims() for _ in range(3)]
    url = f"file://{tmp_path}/bucket"
    opened = [connect_mirror(url, tmp_path / str(number)).reference(FINGERPRINT).open_claims() for number in range(3)]
    assert all(isinstance(each.place, BucketClaims) for each in opened)
    return opened


def test_others_see_what_is_claimed_until_it_is_committed(writers: list[Claims]) -> None:
    first, second, third = writers
    first.add(KEYS[:3])
    first.add(KEYS[3:5])
    second.add(KEYS[5:6])
    assert third.find_claimed(KEYS) == set(KEYS[:6])
    assert first.find_claimed(KEYS) == set(KEYS[5:6])
    first.release_keys(KEYS[:4])
    assert third.find_claimed(KEYS) == set(KEYS[3:6])
    first.release()
    second.release()
    assert third.find_claimed(KEYS) == set()
    assert third.place.list_ages() == {}


def test_the_same_claim_is_the_firsts(writers: list[Claims]) -> None:
    first, second, third = writers
    first.add(KEYS[:3])
    second.add(KEYS[:3])
    second.release()
    assert third.find_claimed(KEYS) == set(KEYS[:3])
    assert second.find_claimed(KEYS) == set(KEYS[:3])


def test_what_is_no_claim_claims_nothing(writers: list[Claims]) -> None:
    for name, document in (
        ("a", b""),
        ("b", b"[]"),
        ("c", b'{"host": 1}'),
        ("d", b'{"host": "h", "pid": "x", "keys": []}'),
    ):
        writers[0].place.create(name, document)
    assert writers[1].find_claimed(KEYS) == set()


def test_a_renewed_claim_outlives_one_that_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "claims"
    first, second = Claims(ClaimFolder(folder)), Claims(ClaimFolder(folder))
    first.add(KEYS[:1])
    first.add(KEYS[1:2])
    long_ago = time.time() - claims.LIFE_S - 1
    for path in folder.iterdir():
        os.utime(path, (long_ago, long_ago))
    first.renew()  # too soon after the last: nothing happens
    renewed = Claims(ClaimFolder(folder), renew_after=0)
    renewed.add(KEYS[2:3])
    os.utime(max(folder.iterdir(), key=lambda path: path.stat().st_mtime), (long_ago, long_ago))
    renewed.renew()
    assert second.find_claimed(KEYS) == {KEYS[2]}
    assert len(list(folder.iterdir())) == 1


def test_a_claim_of_a_process_that_is_gone_is_removed(tmp_path: Path) -> None:
    place = ClaimFolder(tmp_path / "claims")
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    gone = Owner(Owner.of_this_process().host, pid)
    place.create("gone", Claim(gone, frozenset([KEYS[0][:8]])).format())
    place.create("far away", Claim(Owner("another host", pid), frozenset([KEYS[1][:8]])).format())
    assert Claims(place).find_claimed(KEYS) == {KEYS[1]}
    assert set(place.list_ages()) == {"far away"}


def test_a_place_that_cannot_be_written_or_read_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("a file")
    writer = Claims(ClaimFolder(tmp_path / "claims"))
    writer.add(KEYS)
    writer.renew()
    assert writer.find_claimed(KEYS) == set()
    writer.release()


def test_verify_does_not_take_claims_for_strays(tmp_path: Path) -> None:
    cache = ReferenceCache.open(tmp_path / "cache")
    cache.reference(FINGERPRINT).open_claims().add(KEYS)
    assert find_strays(cache) == []
