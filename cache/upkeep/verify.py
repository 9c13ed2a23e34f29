"""Verifies that the store still is what was written into it, and says what has to be scored again where it is not.

Without `deep` every file but the log-probabilities is read and checked, and those for their size; `deep` reads them
too, each against its own checksum. Nothing is changed: `repair` acts on a report.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from prefd.cache.agreement import Disagreement, compare_entries, find_tolerance
from prefd.cache.index import Index
from prefd.cache.segments.ids import new_id
from prefd.cache.segments.segment import DamagedSegment, Segment
from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep.rescue import examine, find_whole_keys, is_whole, rescue
from prefd.cache.upkeep.stored_reference import DamagedReference, StoredReference, Survey, stored_references
from prefd.cache.upkeep.strays import Stray, find_strays


@dataclass(frozen=True)
class Damage:
    """Damage is one damaged segment, or the damaged attributes of a reference, and what that costs."""

    reference: str
    """Its fingerprint."""
    segment: str | None
    """None where it is the reference's own attributes."""
    what: str
    rescuable: int = 0
    """How many entries of it still match their checksums and are in no other segment."""
    to_score: int | None = 0
    """How many completions have to be scored again, rescued ones not counted; None where nothing says it."""


@dataclass
class VerifyReport:
    """VerifyReport says what `verify` has looked at, and what it has found."""

    deep: bool
    references: int = 0
    segments: int = 0
    """How many segments were checked, of `segments_total`."""
    segments_total: int = 0
    entries: int = 0
    bytes: int = 0
    seconds: float = 0.0
    damage: list[Damage] = field(default_factory=list)
    disagreements: list[tuple[str, Disagreement]] = field(default_factory=list)
    """Each with the reference's fingerprint. Of its two segments, the first is served."""
    strays: list[Stray] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Says whether every segment was checked before the time was up."""
        return self.segments == self.segments_total

    @property
    def ok(self) -> bool:
        """Says whether all that was checked is whole and agrees. Strays do no harm."""
        return not self.damage and not self.disagreements

    def to_json(self) -> dict[str, Any]:
        """Returns the report as `prefd cache verify --json` prints it."""
        disagreements = [
            {"reference": name, "key": each.key.hex(), "segments": list(each.segments), "nats": each.nats}
            for name, each in self.disagreements
        ]
        return asdict(self) | {"complete": self.complete, "ok": self.ok, "disagreements": disagreements}


def verify(
    cache: ReferenceCache, *, deep: bool = False, deadline: float | None = None, prefix: str = ""
) -> VerifyReport:
    """Checks the references whose fingerprint starts with `prefix`; stops at `deadline` (of `time.monotonic`).

    With a deadline the segments are taken in random order, so that short runs get to all of them in time.
    """
    began = time.monotonic()
    report = VerifyReport(deep, strays=find_strays(cache))
    tasks: list[tuple[StoredReference, Survey, Segment | str]] = []
    for reference in stored_references(cache):
        if isinstance(reference, DamagedReference):
            name = reference.folder.name
            if name.startswith(prefix):
                report.damage.append(Damage(name, None, str(reference)))
            continue
        if not reference.name.startswith(prefix):
            continue
        report.references += 1
        survey = reference.survey()
        tasks += [(reference, survey, segment) for segment in (*survey.live, *survey.replaced)]
        tasks += [(reference, survey, name) for name in survey.damaged]
        report.disagreements += [(reference.name, each) for each in find_disagreements(reference, survey.live)]
    report.segments_total = len(tasks)
    if deadline is not None:
        random.shuffle(tasks)
    for reference, survey, segment in tasks:
        if deadline is not None and time.monotonic() >= deadline:
            break
        report.damage += _check_segment(reference, survey, segment, report)
        report.segments += 1
    report.seconds = time.monotonic() - began
    return report


def _check_segment(
    reference: StoredReference, survey: Survey, segment: Segment | str, report: VerifyReport
) -> Iterator[Damage]:
    """Checks one segment, which is open, or the name of one that could not be opened; yields its damage."""
    if isinstance(segment, str):
        yield _assess_damage(reference, segment, survey.damaged[segment], survey.live)
        return
    report.entries += segment.entries
    report.bytes += segment.bytes
    try:
        segment.check_metadata()
        if report.deep:
            _check_values(segment)
    except DamagedSegment as error:
        if segment.path.exists():
            yield _assess_damage(
                reference, segment.id, str(error), [each for each in survey.live if each is not segment]
            )


def _check_values(segment: Segment) -> None:
    """Checks every value against its checksum and its sum. Raises `DamagedSegment` with how many do not match."""
    values, begins = segment.logprobs, segment.offsets[:-1]
    usable = np.logical_and.reduceat((values <= 0) & (values > -np.inf), begins)
    sums = np.isclose(np.add.reduceat(values, begins, dtype=np.float64), segment.sums, rtol=1e-9)
    bad = [row for row in range(segment.entries) if not (usable[row] and sums[row] and is_whole(segment, row))]
    if bad:
        raise DamagedSegment(
            f"{segment.path}: {len(bad)} of {segment.entries} entries do not match their checksum or sum "
            f"(the first is entry {bad[0]})"
        )
    segment.check_logprobs()


def _assess_damage(reference: StoredReference, name: str, reason: str, other_segments: Sequence[Segment]) -> Damage:
    """Counts what can be rescued of a damaged segment, and what has to be scored again."""
    remains = examine(reference.segments / name)
    elsewhere = find_whole_keys(other_segments, remains.keys)
    rescuable = len(remains.whole_entries.keys() - elsewhere)
    to_score = (
        None if remains.entries is None else max(0, remains.entries - len(remains.whole_entries.keys() | elsewhere))
    )
    return Damage(reference.name, name, reason, rescuable, to_score)


def find_disagreements(reference: StoredReference, segments: Sequence[Segment]) -> list[Disagreement]:
    """Finds the keys for which two of `segments` hold whole values further apart than the compute dtype explains."""
    limit = find_tolerance(reference.fingerprint.identity)
    shared_keys = Index().with_segments(segments).find_shared()
    return [
        disagreement
        for _, places in shared_keys
        for disagreement in compare_entries([each for each in places if is_whole(*each)], limit)
    ]


@dataclass(frozen=True)
class Repair:
    """Repair says what was done about one damage."""

    reference: str
    segment: str | None
    rescued: int
    """How many entries were put into a new segment."""
    moved_to: str
    fetched: bool = False
    """Whether a whole copy took its place; no entry had to be rescued then."""


def repair(cache: ReferenceCache, damage: Sequence[Damage]) -> list[Repair]:
    """Moves what is damaged to its reference's `quarantine/`, after its whole entries have been saved.

    In a shared cache a whole copy takes its place, if there is one. Damaged attributes go there too: the next job that
    needs the reference writes them again.
    """
    repairs = []
    for damaged in damage:
        folder = cache.path / "refs" / damaged.reference
        try:
            if damaged.segment is None:
                repairs.append(Repair(damaged.reference, None, 0, str(_set_attributes_aside(folder))))
                continue
            stored = StoredReference.open(folder, cache)
            fetched = cache.mend(stored.fingerprint, damaged.segment)
            rescued = 0 if fetched else rescue(stored, damaged.segment)
        except (FileNotFoundError, DamagedReference):
            continue  # it is not there, or someone else moved it; or its attributes have been damaged since
        repairs.append(
            Repair(damaged.reference, damaged.segment, rescued, str(folder / "quarantine" / damaged.segment), fetched)
        )
    return repairs


def _set_attributes_aside(folder: Path) -> Path:
    """Moves a reference's `zarr.json` to quarantine. Returns where it lies then."""
    quarantine = folder / "quarantine"
    quarantine.mkdir(exist_ok=True)
    aside = quarantine / f"zarr.json.{new_id()}"
    (folder / "zarr.json").rename(aside)
    return aside
