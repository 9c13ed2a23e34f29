"""`is_unsettled` notices that a home is a copy of another one, before `settle_home` makes it one of its own."""

from __future__ import annotations

from prefd.daemon.home.identity import HomePlace, read_identity
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable


def is_unsettled(home: Home) -> bool:
    """Return whether the home is a copy, as far as can be told, whose jobs are still to be held. Raises OSError, JobTableError."""
    identity = read_identity(home.root)
    if identity is None:
        with JobTable.open_readonly(home.database) as table:
            return bool(table.home_id())
    return not identity.settled or not identity.place.is_folder_of(HomePlace.find(home.root))
