"""`explain_own_folder` keeps what users put somewhere out of the folders that a home keeps itself.

There it would be taken for a spec, a job or a part of the cache, removed with one, or be in the way of one.
"""

from __future__ import annotations

from pathlib import Path

from prefd.daemon.home.identity import FILE
from prefd.daemon.home.layout import Home


def explain_own_folder(home: Home, place: Path) -> str | None:
    """Say of which home's own folders `place` is a part, or is to become one, and what to name instead; None where it is of none.

    `home`: the one that is worked with. Others are found by what lies around the place.
    """
    resolved = place.resolve()
    above = [Home(folder) for folder in (resolved, *resolved.parents) if (folder / FILE).is_file()]
    for owner in (home, *above):
        archive = owner.archive.resolve()
        if resolved == archive or archive in resolved.parents:
            return None
        for folder in (owner.jobs, owner.runs, owner.cache, owner.run):
            own = folder.resolve()  # which may be a link to another drive
            if resolved == own or own in resolved.parents:
                return f"{place} lies in {folder}, which prefd keeps for itself: name a folder outside of {owner.root}"
        if resolved == owner.root.resolve():
            return f"{place} is a home of prefd: name a folder outside of it, or {owner.archive}"
    return None
