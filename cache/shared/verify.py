"""Checks every byte that the object store of a shared cache holds.

With `repair`, a segment that is damaged there is deleted, so that a mirror that has it whole may upload it again.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from prefd.cache.segments.segment import DamagedSegment, open_segment
from prefd.cache.shared.bucket_segments import BucketSegment, find_fault, list_segments
from prefd.cache.shared.cache import SharedCache
from prefd.cache.upkeep.verify import Damage


@dataclass
class SharedReport:
    """SharedReport holds what `verify_shared` has found in the object store, and done about it."""

    segments: int = 0
    """How many were checked, of `segments_total`."""
    segments_total: int = 0
    bytes: int = 0
    damage: list[Damage] = field(default_factory=list)
    uploaded: list[str] = field(default_factory=list)
    """Damaged segments that the mirror had whole, and has uploaded again."""
    deleted: list[str] = field(default_factory=list)
    """Damaged segments that it had not: their completions are scored again, or uploaded by another mirror."""


def verify_shared(
    cache: SharedCache, *, repair: bool = False, deadline: float | None = None, prefix: str = ""
) -> SharedReport:
    """Fetches every segment of the object store and checks every byte of it; no copy stays here.

    With `repair` a damaged one is deleted there, and uploaded again from the mirror where that has it whole. Raises the
    bucket's errors.
    """
    segments = [segment for segment in list_segments(cache, prefix) if segment.committed]
    report = SharedReport(segments_total=len(segments))
    if deadline is not None:
        random.shuffle(segments)
    for segment in segments:
        if deadline is not None and time.monotonic() >= deadline:
            break
        report.segments += 1
        report.bytes += segment.bytes
        fault = find_fault(cache, segment)
        if fault is None:
            continue
        report.damage.append(Damage(segment.remote.reference, segment.name, fault, to_score=None))
        if repair and segment.remote.identity_sha256:
            segment.delete()
            (report.uploaded if _upload_again(segment) else report.deleted).append(segment.name)
    return report


def _upload_again(segment: BucketSegment) -> bool:
    """Uploads a segment from the mirror, and says whether that has it whole."""
    try:
        segment.remote.upload(open_segment(segment.mirror_path, segment.remote.identity_sha256))
    except (DamagedSegment, FileNotFoundError):
        return False
    return True
