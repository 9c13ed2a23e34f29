"""Keeps claims in an object store, where the writers of several mirrors see them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from prefd.cache.shared.bucket import Bucket


@dataclass(frozen=True)
class BucketClaims:
    """BucketClaims keeps claims as objects under `prefix`. Methods raise the bucket's errors."""

    bucket: Bucket
    prefix: str

    def list_ages(self) -> Mapping[str, float]:
        """Lists the claims, with the seconds since each was written or renewed."""
        objects = self.bucket.attempt("fetching", lambda: self.bucket.list_objects(self.prefix)) or {}
        return {name: time.time() - each.put_at for name, each in objects.items()}

    def read(self, name: str) -> bytes:
        """Reads a claim's document."""
        try:
            return self.bucket.get(f"{self.prefix}/{name}")
        except self.bucket.missing_errors as error:
            raise FileNotFoundError(name) from error

    def create(self, name: str, document: bytes) -> bool:
        """Writes a claim, and says whether it did: not where there is one of that name."""
        return bool(self.bucket.attempt("uploading", lambda: self.bucket.create(f"{self.prefix}/{name}", document)))

    def renew(self, name: str, document: bytes) -> None:
        """Makes a claim new again."""
        self.bucket.attempt("uploading", lambda: self.bucket.replace(f"{self.prefix}/{name}", document))

    def remove(self, name: str) -> None:
        """Removes a claim; one that is gone is no error."""
        self.bucket.attempt("uploading", lambda: self.bucket.delete([f"{self.prefix}/{name}"]))
