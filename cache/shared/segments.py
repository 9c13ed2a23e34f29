"""Lists, fetches, mends, uploads and takes out the segments that one reference has in an object store.

A segment is there when its `zarr.json` is: that is uploaded last, if absent, and deleted first. What is fetched is checked
byte by byte before it is believed, and what is uploaded is checked before it goes.
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
    """Copies one reference's segments from and to the object store. Methods raise the bucket's errors."""

    bucket: Bucket
    reference: str
    """Its fingerprint."""
    identity_sha256: str

    @property
    def prefix(self) -> str:
        """Returns the folder of the reference's segments in the bucket."""
        return f"refs/{self.reference}/segments"

    @property
    def withdrawals(self) -> str:
        """Returns the folder in the bucket that has an empty object for each segment that was taken out for good."""
        return f"refs/{self.reference}/pruned"

    def list_committed(self) -> set[str]:
        """Lists the segments that are whole, as far as the names of all objects tell."""
        names = (name.removesuffix(f"/{COMMIT}") for name in self.bucket.list_objects(self.prefix))
        return {name for name in names if is_id(name)}

    def list_names(self) -> set[str]:
        """Lists the segments that are there or are being uploaded, by their folders alone."""
        return {name for name in self.bucket.list_folders(self.prefix) if is_id(name)}

    def list_withdrawn(self) -> set[str]:
        """Lists the segments that were taken out of the object store for good."""
        return set(self.bucket.list_objects(self.withdrawals))

    def fetch(self, name: str, target: Path) -> bool:
        """Copies segment `name` to the folder `target` and checks every byte of it. False where it is not committed.

        Raises `DamagedSegment`, whose message names the objects and not the copy.
        """
        prefix = f"{self.prefix}/{name}"
        files = [file for file in files_of_a_segment() if file != COMMIT]
        try:
            self.bucket.download(f"{prefix}/{COMMIT}", target / COMMIT)
        except self.bucket.missing_errors:
            return False  # it may be in the middle of its upload
        try:
            self.bucket.run_together(lambda file: self.bucket.download(f"{prefix}/{file}", target / file), files)
        except self.bucket.missing_errors as error:
            if COMMIT not in self.bucket.list_objects(prefix) or name in self.list_withdrawn():
                return False  # it is being taken out at this moment
            raise DamagedSegment(f"{self.bucket.url}/{prefix}: an object is missing ({first_line(error)})") from None
        try:
            segment = open_segment(target, self.identity_sha256)
            segment.check_logprobs()
            segment.check_metadata()
        except DamagedSegment as error:
            raise DamagedSegment(str(error).replace(str(target), f"{self.bucket.url}/{prefix}")) from error
        return True

    def mend(self, damaged: Path, staging: Path) -> bool:
        """Puts a whole copy in the place of the segment folder `damaged`, which is quarantined. Raises as `fetch`."""
        staged = staging / uuid.uuid4().hex
        try:
            if not self.fetch(damaged.name, staged):
                return False
            flush_tree(staged)
            with suppress(FileNotFoundError):  # somebody else has moved it
                quarantine(damaged)
            staged.rename(damaged)
            flush(damaged.parent)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        log.warning("segment %s was damaged here, and has been fetched again from %s", damaged.name, self.bucket.url)
        return True

    def upload(self, segment: Segment) -> None:
        """Uploads a segment that is whole. Raises `DamagedSegment` for one that is not, and FileNotFoundError."""
        segment.check_logprobs()
        segment.check_metadata()
        prefix = f"{self.prefix}/{segment.id}"
        commit = (segment.path / COMMIT).read_bytes()
        files = [file for file in files_of_a_segment() if file != COMMIT]
        self.bucket.run_together(lambda file: self.bucket.upload(f"{prefix}/{file}", segment.path / file), files)
        self.bucket.create(f"{prefix}/{COMMIT}", commit)

    def withdraw(self, name: str, objects: Iterable[str] | None = None) -> None:
        """Takes a segment out for good: mirrors keep what they have of it, and none fetches or uploads it again."""
        self.bucket.create(f"{self.withdrawals}/{name}", b"")
        self.delete(name, objects)

    def delete(self, name: str, objects: Iterable[str] | None = None) -> None:
        """Takes a segment out, its commit first; a mirror that has it whole will upload it again."""
        prefix = f"{self.prefix}/{name}"
        self.bucket.delete([f"{prefix}/{COMMIT}"])
        names = self.bucket.list_objects(prefix) if objects is None else objects
        files = [f"{prefix}/{file}" for file in names if file != COMMIT]
        if files:
            self.bucket.delete(files)
