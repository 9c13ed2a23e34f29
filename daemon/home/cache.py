"""`open_cache` opens a home's cache: its own folder, or that folder as the mirror of a shared one (`cache_url`).

`read_references` only looks into it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefd.cache.store import ReferenceCache, ReferenceInfo
from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config

if TYPE_CHECKING:
    from prefd.cache.shared.cache import SharedCache


def open_cache(home: Home) -> ReferenceCache:
    """Open the home's cache; create it as needed. Raises `NotACache`, and `CannotShare` for a URL that cannot be used."""
    return open_shared(home) or ReferenceCache.open(home.cache)


def open_shared(home: Home) -> SharedCache | None:
    """Open the home's shared cache; None for a home that shares nothing. Raises as `open_cache`."""
    url = HandedSettings.read(home).cache_url
    if not url:
        return None
    from prefd.cache.shared.cache import SharedCache  # here: few share, and obstore may not be installed

    return SharedCache.connect(url, home.cache)


def open_own_folder(home: Home) -> ReferenceCache:
    """Open the home's cache folder alone, without connecting to the object store that it may be the mirror of."""
    return ReferenceCache.open(home.cache, mirror=bool(Config.load(home).cache_url))


def read_references(home: Home) -> list[ReferenceInfo]:
    """Read what the home's cache holds of each reference; nothing is made where there is none."""
    if not home.has_cache:
        return []  # open() would make a cache; reading makes nothing
    return ReferenceCache.open(home.cache).references()
