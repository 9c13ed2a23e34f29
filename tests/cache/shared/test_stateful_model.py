"""Two mirrors of one object store against a set: whatever is done, in any order, nobody reads a wrong value."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from prefd.cache.reference import Reference
from prefd.cache.segments.layout import chunk_path
from prefd.cache.shared.bucket import Bucket
from prefd.cache.shared.cache import SharedCache
from prefd.cache.shared.prune import prune_shared
from prefd.cache.shared.segments import SharedSegments
from prefd.cache.shared.verify import verify_shared
from prefd.cache.upkeep.compact import compact
from prefd.cache.upkeep.prune import prune
from prefd.cache.upkeep.removals import PruneLimits
from prefd.cache.upkeep.stored_reference import whole_references
from prefd.cache.upkeep.verify import repair, verify
from support.cache_entries import FINGERPRINT, KEYS, flip, value_of
from support.faulty_object_store import flip_object

DAY = 86_400.0
MIRRORS = st.sampled_from(["a", "b"])
SOME_KEYS = st.sets(st.sampled_from(KEYS), min_size=1, max_size=4)
ARRAYS = st.sampled_from(["key", "offset", "sum", "crc", "logprob"])


class SharedMachine(RuleBasedStateMachine):
    """`lossy`: whether something may have left the object store or been damaged in it; until then nothing is missing."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.url = f"file://{self.root}/store"
        self.put_so_far: set[bytes] = set()
        self.lossy = False

    def teardown(self) -> None:
        self.folder.cleanup()

    @initialize()
    def open(self) -> None:
        for mirror in "ab":
            self.reference(mirror)

    def cache(self, mirror: str) -> SharedCache:
        return SharedCache.connect(self.url, self.root / mirror)

    def reference(self, mirror: str) -> Reference:
        return self.cache(mirror).reference(FINGERPRINT)

    @property
    def there(self) -> SharedSegments:
        return SharedSegments(Bucket(self.url), FINGERPRINT.name, FINGERPRINT.sha256)

    @rule(mirror=MIRRORS, keys=SOME_KEYS)
    def a_job_scores_what_is_missing(self, mirror: str, keys: set[bytes]) -> None:
        reference = self.reference(mirror)
        missing = reference.missing(sorted(keys))
        if not self.lossy:
            assert set(missing) == keys - self.put_so_far
        reference.put({key: value_of(key) for key in missing})
        self.put_so_far |= keys
        assert reference.missing(sorted(keys)) == []
        for key, actual in zip(sorted(keys), self.reference(mirror).get(sorted(keys))):
            np.testing.assert_array_equal(actual, value_of(key))

    @rule(mirror=MIRRORS, grace=st.sampled_from([0.0, DAY]))
    def compact(self, mirror: str, grace: float) -> None:
        for stored in whole_references(self.cache(mirror)):
            compact(stored, grace_s=grace)

    @rule(mirror=MIRRORS, share=st.floats(0, 1))
    def prune_here(self, mirror: str, share: float) -> None:
        cache = self.cache(mirror)
        held = prune(cache, PruneLimits(dry_run=True)).kept
        report = prune(cache, PruneLimits(max_size=int(held * share)))
        assert report.kept <= held

    @rule(mirror=MIRRORS)
    def prune_the_reference_here(self, mirror: str) -> None:
        prune(self.cache(mirror), PruneLimits(reference=FINGERPRINT.name))

    @rule(mirror=MIRRORS, share=st.floats(0, 1))
    def prune_there(self, mirror: str, share: float) -> None:
        cache = self.cache(mirror)
        held = prune_shared(cache, PruneLimits(dry_run=True)).kept
        report = prune_shared(cache, PruneLimits(max_size=int(held * share)))
        self.lossy |= any(each.why == "unused" for each in report.removed)

    @rule()
    def two_days_pass(self) -> None:
        for path in self.root.rglob("*"):
            os.utime(path, (time.time() - 2 * DAY,) * 2)

    @rule(mirror=MIRRORS, place=st.floats(0, 0.99), array=ARRAYS)
    def damage_here(self, mirror: str, place: float, array: str) -> None:
        """Of what is whole in the object store: then nothing is lost."""
        segments = sorted(self.there.list_committed())
        (stored,) = whole_references(self.cache(mirror))
        names = [name for name in stored.segment_names() if name in segments]
        if names and verify_shared(self.cache(mirror)).damage == []:
            flip(chunk_path(stored.segments / names[int(place * len(names))], array), place)

    @rule(place=st.floats(0, 0.99), array=ARRAYS)
    def damage_there(self, place: float, array: str) -> None:
        names = sorted(self.there.list_committed())
        if names:
            name = names[int(place * len(names))]
            flip_object(self.url, chunk_path(Path(f"{self.there.prefix}/{name}"), array).as_posix())
            self.lossy = True

    @rule(mirror=MIRRORS)
    def repair(self, mirror: str) -> None:
        cache = self.cache(mirror)
        verify_shared(cache, repair=True)
        assert verify_shared(cache).damage == []
        repair(cache, verify(cache, deep=True).damage)
        assert verify(cache, deep=True).ok

    @rule()
    def a_mirror_is_lost(self) -> None:
        for name in ("segments", "pruned"):
            folder = self.root / "b" / "refs" / FINGERPRINT.name / name
            if folder.exists():
                folder.rename(self.root / f"lost-{time.time_ns()}")

    @invariant()
    def nobody_reads_a_wrong_value(self) -> None:
        for mirror in "ab":
            for key, actual in zip(KEYS, self.reference(mirror).find(KEYS)):
                if actual is not None:
                    np.testing.assert_array_equal(actual, value_of(key))


SharedMachine.TestCase.settings = settings(max_examples=4, stateful_step_count=12, deadline=None)
test_mirrors_of_one_store_may_forget_and_are_never_wrong = SharedMachine.TestCase
