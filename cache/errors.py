"""Defines the root of the cache's errors, whose messages people read."""

from __future__ import annotations


class CacheError(Exception):
    """CacheError is an error of the cache whose message is for a person: it names the file or the store, and says what to do."""
