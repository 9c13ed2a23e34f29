"""`verify`: whether the store still is what was written into it, and what has to be scored again where it is not.

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

from prefd.cache.agreement import Disagreement, differing, tolerance
from prefd.cache.index import Index
from prefd.cache.segments.ids import new_id
from prefd.cache.segments.segment import DamagedSegment, Segment
from prefd.cache.store import ReferenceCache
from prefd.cache.upkeep.rescue import examine, held_whole, is_whole, rescue
from prefd.cache.upkeep.stored_reference import DamagedReference, StoredReference, Survey, stored_references
from prefd.cache.upkeep.strays import Stray, strays


@dataclass(frozen=True)
class Damage:
    reference: str
    """Fingerprint."""
    segment: str | None
    """None: the reference's own attributes."""
    what: str
    rescuable: int = 0
    """Entries of it that still match their checksums and that no other segment holds."""
    to_score: int | None = 0
    """Completions that have to be scored again, rescued ones not counted; None where nothing says how many."""


@dataclass
class VerifyReport:
    deep: bool
    references: int = 0
    segments: int = 0
    """Segments that were checked, of `segments_total`."""
    segments_total: int = 0
    entries: int = 0
    bytes: int = 0
    seconds: float = 0.0
    damage: list[Damage] = field(default_factory=list)
    disagreements: list[tuple[str, Disagreement]] = field(default_factory=list)
    """With the reference's fingerprint. Of the two segments, the first is served."""
    strays: list[Stray] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything was looked at before the time was up."""
        return self.segments == self.segments_total

    @property
    def ok(self) -> bool:
        """Of what was looked at. Strays harm nobody."""
        return not self.damage and not self.disagreements

    def to_json(self) -> dict[str, Any]:
        disagreements = [
            {"reference": name, "key": each.key.hex(), "segments": list(each.segments), "nats": each.nats}
            for name, each in self.disagreements
        ]
        return asdict(self) | {"complete": self.complete, "ok": self.ok, "disagreements": disagreements}


def verify(
    cache: ReferenceCache, *, deep: bool = False, deadline: float | None = None, prefix: str = ""
) -> VerifyReport:
    """Check the references whose fingerprint starts with `prefix`; stop at `deadline` (of `time.monotonic`).

    With a deadline the segments are taken in random order, so that short runs get to all of them in time.
    """
    began = time.monotonic()
    report = VerifyReport(deep, strays=strays(cache))
    work: list[tuple[StoredReference, Survey, Segment | str]] = []
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
        work += [(reference, survey, segment) for segment in (*survey.live, *survey.replaced)]
        work += [(reference, survey, name) for name in survey.damaged]
        report.disagreements += [(reference.name, each) for each in disagreements(reference, survey.live)]
    report.segments_total = len(work)
    if deadline is not None:
        random.shuffle(work)
    for reference, survey, one in work:
        if deadline is not None and time.monotonic() >= deadline:
            break
        report.damage += _check(reference, survey, one, report)
        report.segments += 1
    report.seconds = time.monotonic() - began
    return report


def _check(reference: StoredReference, survey: Survey, one: Segment | str, report: VerifyReport) -> Iterator[Damage]:
    """`one`: an open segment, or the name of one that could not be opened."""
    if isinstance(one, str):
        yield _loss(reference, one, survey.damaged[one], survey.live)
        return
    report.entries += one.entries
    report.bytes += one.bytes
    try:
        one.check_metadata()
        if report.deep:
            _check_values(one)
    except DamagedSegment as error:
        if one.path.exists():
            yield _loss(reference, one.id, str(error), [each for each in survey.live if each is not one])


def _check_values(segment: Segment) -> None:
    """Every value against its checksum and its sum. Raises `DamagedSegment` with how many do not match."""
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


def _loss(reference: StoredReference, name: str, what: str, others: Sequence[Segment]) -> Damage:
    remains = examine(reference.segments / name)
    elsewhere = held_whole(others, remains.keys)
    rescuable = len(remains.whole.keys() - elsewhere)
    to_score = None if remains.held is None else max(0, remains.held - len(remains.whole.keys() | elsewhere))
    return Damage(reference.name, name, what, rescuable, to_score)


def disagreements(reference: StoredReference, segments: Sequence[Segment]) -> list[Disagreement]:
    """Keys that two of `segments` hold with whole values further apart than the compute dtype explains."""
    limit = tolerance(reference.fingerprint.identity)
    shared = Index().extended(segments).shared()
    return [one for _, places in shared for one in differing([each for each in places if is_whole(*each)], limit)]


@dataclass(frozen=True)
class Repair:
    reference: str
    segment: str | None
    rescued: int
    """Entries put into a new segment."""
    moved_to: str
    fetched: bool = False
    """Whether a whole copy took its place; nothing had to be rescued then."""


def repair(cache: ReferenceCache, damage: Sequence[Damage]) -> list[Repair]:
    """Move what is damaged to its reference's `quarantine/`, after the whole entries of it have been saved.

    Of a shared cache a whole copy takes its place, if there is one. Damaged attributes go there too: the next job that needs the reference writes them again.
    """
    made = []
    for each in damage:
        folder = cache.path / "refs" / each.reference
        try:
            if each.segment is None:
                made.append(Repair(each.reference, None, 0, str(_set_attributes_aside(folder))))
                continue
            stored = StoredReference.open(folder, cache)
            fetched = cache.mend(stored.fingerprint, each.segment)
            rescued = 0 if fetched else rescue(stored, each.segment)
        except (FileNotFoundError, DamagedReference):
            continue  # it is not there, or someone else moved it; or its attributes have been damaged since
        made.append(Repair(each.reference, each.segment, rescued, str(folder / "quarantine" / each.segment), fetched))
    return made


def _set_attributes_aside(folder: Path) -> Path:
    quarantine = folder / "quarantine"
    quarantine.mkdir(exist_ok=True)
    aside = quarantine / f"zarr.json.{new_id()}"
    (folder / "zarr.json").rename(aside)
    return aside
