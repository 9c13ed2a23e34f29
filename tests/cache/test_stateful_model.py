"""The store against a dict: whatever is done to it, in any order, what was put is served or missing, never wrong."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from prefd.cache.reference import Reference
from prefd.cache.segments.layout import chunk_path
from prefd.cache.store import ReferenceCache
from prefd.cache.transfer.export_import import export, import_
from prefd.cache.upkeep.compact import compact
from prefd.cache.upkeep.prune import prune
from prefd.cache.upkeep.removals import PruneLimits
from prefd.cache.upkeep.stored_reference import StoredReference, whole_references
from prefd.cache.upkeep.verify import repair, verify
from support.cache_entries import FINGERPRINT, KEYS, flip, value_of

DAY = 86_400.0


class CacheMachine(RuleBasedStateMachine):
    """`held`: keys that were put and have been neither pruned nor damaged since."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.held: set[bytes] = set()

    def teardown(self) -> None:
        self.folder.cleanup()

    @initialize()
    def open(self) -> None:
        self.cache = ReferenceCache.open(Path(self.folder.name) / "cache")
        self.reader: Reference = self.cache.reference(FINGERPRINT)
        self.writer: Reference = self.cache.reference(FINGERPRINT)

    @property
    def stored(self) -> StoredReference:
        (stored_reference,) = whole_references(self.cache)
        return stored_reference

    @rule(keys=st.sets(st.sampled_from(KEYS), min_size=1, max_size=5))
    def put(self, keys: set[bytes]) -> None:
        self.writer.put({key: value_of(key) for key in keys})
        self.held |= keys

    @rule(keys=st.sets(st.sampled_from(KEYS), min_size=1, max_size=5))
    def score_what_is_missing(self, keys: set[bytes]) -> None:
        missing = self.writer.missing(sorted(keys))
        assert set(missing) == keys - self.held
        self.writer.put({key: value_of(key) for key in missing})
        self.held |= keys

    @rule(small=st.booleans())
    def compact(self, small: bool) -> None:
        compact(self.stored, target_bytes=1500 if small else 2**20, grace_s=DAY)

    @rule()
    def compact_and_delete(self) -> None:
        compact(self.stored, grace_s=0)
        compact(self.stored, grace_s=0)

    @rule()
    def a_day_passes(self) -> None:
        for path in self.stored.segments.glob("*"):
            for each in (path, path / "zarr.json"):
                os.utime(each, (time.time() - 2 * DAY,) * 2)

    @rule(share=st.floats(0, 1))
    def prune(self, share: float) -> None:
        before = prune(self.cache, PruneLimits(dry_run=True)).kept
        report = prune(self.cache, PruneLimits(max_size=int(before * share)))
        assert report.kept <= before
        self.held -= set(self.cache.reference(FINGERPRINT).missing(KEYS))

    @rule()
    def prune_what_is_needed(self) -> None:
        prune(self.cache, PruneLimits(max_size=0, unused_for=0, needed=lambda: {FINGERPRINT.name}))

    @rule(place=st.floats(0, 0.99), array=st.sampled_from(["key", "offset", "sum", "crc", "logprob"]))
    def damage_and_repair(self, place: float, array: str) -> None:
        names = self.stored.segment_names()
        if not names:
            return
        flip(chunk_path(self.stored.segments / names[int(place * len(names))], array), place)
        report = verify(self.cache, deep=True)
        assert len(report.damage) == 1
        repair(self.cache, report.damage)
        lost = set(self.cache.reference(FINGERPRINT).missing(KEYS)) & self.held
        assert len(lost) <= (report.damage[0].to_score or 0)
        self.held -= lost
        self.reopen()  # a reader maps what was flipped under it; a disk does that to nobody's memory

    @rule(data=st.data())
    def leave_through_a_zip_and_come_back(self, data: Any) -> None:
        out = Path(self.folder.name) / "out.zip"
        assert export(self.cache, out).entries >= len(self.held)
        if data.draw(st.booleans()):
            prune(self.cache, PruneLimits(reference=FINGERPRINT.name))
        import_(self.cache, out)
        self.reopen()

    @rule()
    def reopen(self) -> None:
        self.cache = ReferenceCache.open(self.cache.path)
        self.reader = self.cache.reference(FINGERPRINT)
        self.writer = self.cache.reference(FINGERPRINT)

    @invariant()
    def what_is_held_is_served_and_nothing_else(self) -> None:
        self.reader.refresh()
        for reader in (self.reader, self.cache.reference(FINGERPRINT)):
            for key, actual in zip(KEYS, reader.find(KEYS)):
                assert (actual is not None) == (key in self.held)
                if actual is not None:
                    np.testing.assert_array_equal(actual, value_of(key))

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert verify(self.cache, deep=True).ok


CacheMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
test_the_store_is_a_dict_that_may_forget = CacheMachine.TestCase
