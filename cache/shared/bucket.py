"""The few things a shared cache asks of an object store, and what happens when the store does not answer."""

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
"""A store that failed is left alone for so long: each try may take as long as its timeouts and retries."""
CLIENT = {"connect_timeout": "5s", "read_timeout": "30s", "timeout": "30m"}  # the last is for a whole large object
CLIENT_VARIABLES = ("allow_http", "allow_invalid_certificates", "proxy_url", "proxy_excludes", *CLIENT)
"""Each may be set as `AWS_…`, which the library reads by itself only where it is given no option at all."""
RETRIES = {"max_retries": 4}  # with backoff, also when asked to slow down: seconds in all, not the library's minutes


class CannotShare(CacheError, ValueError):
    """The URL names no object store that can be used here. For whoever wrote it: says what to change."""


class StoreTrouble(CacheError):
    """The object store refused or did not answer. For whoever asked for something only it can do."""


@dataclass(frozen=True)
class StoredObject:
    """One object of a listing."""

    bytes: int
    put_at: float
    """Unix time, by the store's clock."""


class Bucket:
    """An object store under one URL. Methods raise `errors`; names are relative to the URL."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        try:
            import obstore
            from obstore.store import from_url
        except ImportError:
            raise CannotShare(f"{url}: object stores need obstore; install prefd[s3]") from None
        self.url = url.rstrip("/")
        self._obstore = obstore
        self._away_until = {"fetching": 0.0, "uploading": 0.0}
        given = {
            name: os.environ[f"AWS_{name.upper()}"] for name in CLIENT_VARIABLES if f"AWS_{name.upper()}" in os.environ
        }
        defaults: dict[str, Any] = {"client_options": CLIENT | given, "retry_config": RETRIES}
        if not url.startswith("s3"):
            defaults = {"automatic_cleanup": True, "mkdir": True} if url.startswith("file:") else {}
        try:
            self._store: ObjectStore = from_url(url, **(defaults | dict(options or {})))
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise CannotShare(f"{url}: {first_line(error)}; expected something like s3://bucket/prefix") from error

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        return (self._obstore.exceptions.BaseError, OSError)

    @property
    def gone(self) -> tuple[type[Exception], ...]:
        """What a missing object, or file, raises."""
        return (self._obstore.exceptions.NotFoundError, FileNotFoundError)

    # listing

    def objects(self, prefix: str) -> dict[str, StoredObject]:
        """Every object under `prefix`, at any depth, by its name relative to `prefix`. A request a thousand objects."""
        return {
            each["path"].removeprefix(f"{prefix}/"): StoredObject(each["size"], each["last_modified"].timestamp())
            for chunk in self._obstore.list(self._store, prefix=prefix)
            for each in chunk
        }

    def folders(self, prefix: str) -> set[str]:
        """The names between `prefix` and the next slash. A request a thousand folders, whatever is in them."""
        found = self._obstore.list_with_delimiter(self._store, prefix=prefix)["common_prefixes"]
        return {path.rstrip("/").rpartition("/")[2] for path in found}

    # objects

    def get(self, name: str) -> bytes:
        return bytes(self._obstore.get(self._store, name).bytes())

    def download(self, name: str, target: Path) -> None:
        """Write the object to the new file `target`, piece by piece."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            for piece in self._obstore.get(self._store, name).stream(PIECE):
                file.write(piece)

    def create(self, name: str, data: bytes) -> bool:
        """Put `data` at `name` if nothing is there; whether it was put."""
        try:
            self._obstore.put(self._store, name, data, mode="create", use_multipart=False)
        except self._obstore.exceptions.AlreadyExistsError:
            return False
        return True

    def upload(self, name: str, source: Path) -> None:
        """Put a file at `name`, in parts where it is large."""
        self._obstore.put(self._store, name, source)

    def delete(self, names: Iterable[str]) -> None:
        """One that is not there is no error."""
        try:
            self._obstore.delete(self._store, list(names))
        except self.gone:  # of some stores
            return

    def together(self, action: Callable[[U], T], each: Iterable[U], at_once: int = CONNECTIONS) -> list[T]:
        """`action` of each, several at once. Raises the first error after all have ended."""
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(action, each))

    # trouble

    def attempt(self, doing: Literal["fetching", "uploading"], action: Callable[[], T]) -> T | None:
        """`action`, or None where the store, or the disk here, does not let it: sharing waits then, and nobody fails.

        After a failure the store is left alone for a while, and every `action` is None at once.
        """
        if time.monotonic() < self._away_until[doing]:
            return None
        try:
            return action()
        except self.errors as error:
            self._away_until[doing] = time.monotonic() + AWAY_S
            log.warning(
                "%s is not possible now, going on with what is here: shared cache %s: %s",
                doing,
                self.url,
                first_line(error),
            )
            return None

    def insist(self, action: Callable[[], T]) -> T:
        """`action`, for who asked for just that. Raises `StoreTrouble`."""
        try:
            return action()
        except self.errors as error:
            raise StoreTrouble(f"{self.url}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
