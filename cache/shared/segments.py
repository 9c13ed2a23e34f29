"""One reference's segments in the object store: listed, fetched, mended, uploaded, and taken out.

A segment is there when its `zarr.json` is: that is uploaded last, if absent, and deleted first. What is fetched is checked
byte by byte before it is believed, what is uploaded is checked before it goes.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from prefd.cache.segments.durable import flush, flush_tree
from prefd.cache.segments.ids import is_id
from prefd.cache.segments.segment import DamagedSegment, Segment, open_segment
from prefd.cache.shared.bucket import COMMIT, Bucket, first_line
from prefd.cache.upkeep.stored_reference import files_of_a_segment, quarantine

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SharedSegments:
    """One reference's segments in the object store. Methods raise the bucket's errors."""

    bucket: Bucket
    reference: str
    """Fingerprint."""
    identity_sha256: str

    @property
    def prefix(self) -> str:
        return f"refs/{self.reference}/segments"

    @property
    def withdrawals(self) -> str:
        return f"refs/{self.reference}/pruned"

    def committed(self) -> set[str]:
        """The segments that are whole as far as their names tell: by a listing of every object."""
        names = (name.removesuffix(f"/{COMMIT}") for name in self.bucket.objects(self.prefix))
        return {name for name in names if is_id(name)}

    def names(self) -> set[str]:
        """Segments that are there, or are being uploaded: by a listing of the folders."""
        return {name for name in self.bucket.folders(self.prefix) if is_id(name)}

    def withdrawn(self) -> set[str]:
        """Segments that were taken out of the object store for good."""
        return set(self.bucket.objects(self.withdrawals))

    def fetch(self, name: str, made: Path) -> bool:
        """Copy segment `name` to the folder `made` and check every byte of it. False where it is not committed.

        Raises `DamagedSegment`, in words of the object store.
        """
        where = f"{self.prefix}/{name}"
        others = [file for file in files_of_a_segment() if file != COMMIT]
        try:
            self.bucket.download(f"{where}/{COMMIT}", made / COMMIT)
        except self.bucket.gone:
            return False  # not yet, it may be in the middle of its upload
        try:
            self.bucket.together(lambda file: self.bucket.download(f"{where}/{file}", made / file), others)
        except self.bucket.gone as error:
            if COMMIT not in self.bucket.objects(where) or name in self.withdrawn():
                return False  # it is being taken out at this moment
            raise DamagedSegment(f"{self.bucket.url}/{where}: an object is missing ({first_line(error)})") from None
        try:
            segment = open_segment(made, self.identity_sha256)
            segment.check_logprobs()
            segment.check_metadata()
        except DamagedSegment as error:
            raise DamagedSegment(str(error).replace(str(made), f"{self.bucket.url}/{where}")) from error
        return True

    def mend(self, damaged: Path, staging: Path) -> bool:
        """Put a whole copy in the place of the segment folder `damaged`, which goes to quarantine. Raises as `fetch`."""
        made = staging / uuid.uuid4().hex
        try:
            if not self.fetch(damaged.name, made):
                return False
            flush_tree(made)
            with suppress(FileNotFoundError):  # somebody else has moved it
                quarantine(damaged)
            made.rename(damaged)
            flush(damaged.parent)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        log.warning("segment %s was damaged here, and has been fetched again from %s", damaged.name, self.bucket.url)
        return True

    def upload(self, segment: Segment) -> None:
        """Put a segment that is whole. Raises `DamagedSegment` for one that is not, and FileNotFoundError."""
        segment.check_logprobs()
        segment.check_metadata()
        where = f"{self.prefix}/{segment.id}"
        commit = (segment.path / COMMIT).read_bytes()
        others = [file for file in files_of_a_segment() if file != COMMIT]
        self.bucket.together(lambda file: self.bucket.upload(f"{where}/{file}", segment.path / file), others)
        self.bucket.create(f"{where}/{COMMIT}", commit)

    def withdraw(self, name: str, objects: Iterable[str] | None = None) -> None:
        """Take a segment out for good: mirrors keep what they have of it, and nobody fetches or uploads it again."""
        self.bucket.create(f"{self.withdrawals}/{name}", b"")
        self.delete(name, objects)

    def delete(self, name: str, objects: Iterable[str] | None = None) -> None:
        """Take a segment out; whoever has it whole will upload it again. Its commit goes first."""
        where = f"{self.prefix}/{name}"
        self.bucket.delete([f"{where}/{COMMIT}"])
        found = self.bucket.objects(where) if objects is None else objects
        rest = [f"{where}/{each}" for each in found if each != COMMIT]
        if rest:
            self.bucket.delete(rest)
