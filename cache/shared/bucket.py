"""Talks to an object store, and lets a shared cache go on without it for a while when it does not answer."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from prefd.cache.errors import CacheError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

log = logging.getLogger(__name__)
T = TypeVar("T")
U = TypeVar("U")

COMMIT = "zarr.json"
CONNECTIONS = 10  # at once: requests for small objects are all latency
PIECE = 2**20  # bytes; so much memory for each connection
AWAY_S = 60.0
"""For so long a store that failed is left alone: each try may take as long as its timeouts and retries."""
CLIENT = {"connect_timeout": "5s", "read_timeout": "30s", "timeout": "30m"}  # the last is for a whole large object
CLIENT_VARIABLES = ("allow_http", "allow_invalid_certificates", "proxy_url", "proxy_excludes", *CLIENT)
"""Options that may be set as `AWS_…`, which the library reads by itself only where it is given no option at all."""
RETRIES = {"max_retries": 4}  # with backoff, also when asked to slow down: seconds in all, not the library's minutes


class CannotShare(CacheError, ValueError):
    """CannotShare is raised for a URL that names no object store that can be used here. The message says what to change in it."""


class StoreTrouble(CacheError):
    """StoreTrouble is raised for a refusal of the object store, or no answer from it, where a user asked for what only it can do."""


@dataclass(frozen=True)
class StoredObject:
    """StoredObject is one object of a listing."""

    bytes: int
    put_at: float
    """Unix time, by the store's clock."""


class Bucket:
    """Reads and writes the objects under one URL. Methods raise `errors`; names are relative to the URL."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        try:
            import obstore
            from obstore.store import from_url
        except ImportError:
            raise CannotShare(f"{url}: object stores need obstore; install prefd[s3]") from None
        self.url = url.rstrip("/")
        self._obstore = obstore
        self._away_until = {"fetching": 0.0, "uploading": 0.0}
        client_variables = {
            name: os.environ[f"AWS_{name.upper()}"] for name in CLIENT_VARIABLES if f"AWS_{name.upper()}" in os.environ
        }
        defaults: dict[str, Any] = {"client_options": CLIENT | client_variables, "retry_config": RETRIES}
        if not url.startswith("s3"):
            defaults = {"automatic_cleanup": True, "mkdir": True} if url.startswith("file:") else {}
        try:
            self._store: ObjectStore = from_url(url, **(defaults | dict(options or {})))
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise CannotShare(f"{url}: {first_line(error)}; expected something like s3://bucket/prefix") from error

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """Returns the exceptions by which the store, or the disk here, refuses or does not answer."""
        return (self._obstore.exceptions.BaseError, OSError)

    @property
    def missing_errors(self) -> tuple[type[Exception], ...]:
        """Returns the exceptions that a missing object, or file, raises."""
        return (self._obstore.exceptions.NotFoundError, FileNotFoundError)

    # listing

    def list_objects(self, prefix: str) -> dict[str, StoredObject]:
        """Lists every object under `prefix`, at any depth, by its relative name. Costs a request a thousand objects."""
        return {
            entry["path"].removeprefix(f"{prefix}/"): StoredObject(entry["size"], entry["last_modified"].timestamp())
            for chunk in self._obstore.list(self._store, prefix=prefix)
            for entry in chunk
        }

    def list_folders(self, prefix: str) -> set[str]:
        """Lists the names between `prefix` and the next slash. Costs a request a thousand folders."""
        paths = self._obstore.list_with_delimiter(self._store, prefix=prefix)["common_prefixes"]
        return {path.rstrip("/").rpartition("/")[2] for path in paths}

    # objects

    def get(self, name: str) -> bytes:
        """Reads a whole object."""
        return bytes(self._obstore.get(self._store, name).bytes())

    def download(self, name: str, target: Path) -> None:
        """Writes the object to the new file `target`, piece by piece."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for piece in self._obstore.get(self._store, name).stream(PIECE):
                file.write(piece)

    def create(self, name: str, data: bytes) -> bool:
        """Puts `data` at `name` if nothing is there, and says whether it did."""
        try:
            self._obstore.put(self._store, name, data, mode="create", use_multipart=False)
        except self._obstore.exceptions.AlreadyExistsError:
            return False
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Puts `data` at `name`, whatever is there."""
        self._obstore.put(self._store, name, data, use_multipart=False)

    def upload(self, name: str, source: Path) -> None:
        """Puts the file `source` at `name`, in parts where it is large."""
        self._obstore.put(self._store, name, source)

    def delete(self, names: Iterable[str]) -> None:
        """Deletes objects; one that is missing is no error."""
        try:
            self._obstore.delete(self._store, list(names))
        except self.missing_errors:  # of some stores
            return

    def run_together(self, action: Callable[[U], T], arguments: Iterable[U], at_once: int = CONNECTIONS) -> list[T]:
        """Calls `action` with each of `arguments`, several at once. Raises the first error after all have ended."""
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(action, arguments))

    # trouble

    def attempt(self, activity: Literal["fetching", "uploading"], action: Callable[[], T]) -> T | None:
        """Calls `action`; gives None where the store, or the disk here, refuses: sharing waits then, and no job fails.

        After a failure the store is left alone for a while, and None is given at once.
        """
        if time.monotonic() < self._away_until[activity]:
            return None
        try:
            return action()
        except self.errors as error:
            self._away_until[activity] = time.monotonic() + AWAY_S
            log.warning(
                "%s is not possible now, going on with what is here: shared cache %s: %s",
                activity,
                self.url,
                first_line(error),
            )
            return None

    def insist(self, action: Callable[[], T]) -> T:
        """Calls `action` where nothing can be done without the store. Raises `StoreTrouble`."""
        try:
            return action()
        except self.errors as error:
            raise StoreTrouble(f"{self.url}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or its type's name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
