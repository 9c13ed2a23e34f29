"""The cache of a home: its own folder, or that folder as the mirror of a shared one (`cache_url` in config.toml)."""

from __future__ import annotations

from prefd.cache.store import ReferenceCache
from prefd.daemon.config import Config
from prefd.daemon.home import Home


def open_cache(home: Home) -> ReferenceCache:
    """Made where there is none. Raises `NotACache`, and `CannotShare` for a URL that cannot be used."""
    url = Config.load(home).cache_url
    if not url:
        return ReferenceCache.open(home.cache)
    from prefd.cache.shared import SharedCache  # here: few share, and obstore may not be installed

    return SharedCache.at(url, home.cache)
