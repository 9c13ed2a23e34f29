"""`settle_home` makes sure, when a daemon starts, that the jobs it finds are this home's to run.

A home that was copied, restored or moved to another file system has the jobs of the home that it was, which may run them
still. It takes an id of its own, and what had not ended is held: nothing runs twice unless it is asked for.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from prefd.daemon.home.identity import (
    HomeIdentity,
    HomePlace,
    begin_identity,
    explain_copy,
    read_identity,
    renew_identity,
)
from prefd.daemon.home.layout import Home
from prefd.daemon.home.runs_owner import claim_runs
from prefd.daemon.inbox.claimed_file import mark_claims, unmark_claims
from prefd.daemon.jobs.database import Unreadable
from prefd.daemon.jobs.fill_up import fill_up
from prefd.daemon.jobs.leftovers import hide_removals
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.text.wording import pluralize

log = logging.getLogger(__name__)


def settle_home(home: Home, table: JobTable) -> HomeIdentity:
    """Return the home's identity, once the home and its database have one, and the jobs of a copy are held.

    The caller holds the home's lock. What its user should know goes into `table.notes` and the log. Raises Unreadable for a
    database of another home, RunsShared for a `runs/` of one, JobTableError and OSError.
    """
    is_earlier = read_identity(home.root) is None and not table.home_id()
    identity = _identify(home, table.home_id())
    if (database_id := table.home_id()) and database_id not in identity.ids:
        raise Unreadable(home.database, f"it is the database of another home (id {database_id}), not of {identity.id}")
    claim_runs(home)
    hide_removals(home, table)  # before anything in runs/ is taken for a job
    fill_up(home, table, identity.ids)
    if not identity.settled:
        unmark_claims(home)  # what broke off in the other home goes on there
        reason = explain_copy(identity)
        held = table.hold_unended(reason)
        note = f"{reason}; it has an id of its own now"
        if held:
            note += f", and {pluralize(len(held), 'job')} of it held: `prefd resume ID` or `prefd resume --all`"
        table.notes.append(note)
        log.warning("%s", note)
    if is_earlier and any(table.counts().values()):  # an earlier version's, which did not mark its claims
        mark_claims(home, table.sources())
    table.set_home_id(identity.id)
    if not identity.settled:
        identity = replace(identity, settled=True)
        identity.write(home.root)
    return identity


def list_own_ids(home: Home) -> tuple[str, ...]:
    """Return the ids under which the home's own files may have been written."""
    identity = read_identity(home.root)
    return () if identity is None else identity.ids


def _identify(home: Home, database_id: str) -> HomeIdentity:
    """Return the identity of the home in this very folder; a new one for a new home, and for one that is another's copy."""
    place = HomePlace.find(home.root)
    identity = read_identity(home.root)
    if identity is None and not database_id:  # a new home, or one of an earlier version
        return begin_identity(home.root)
    if identity is None:  # without home.json nothing tells the home from a copy of parts of it
        identity = HomeIdentity(database_id, HomePlace("", 0, 0, 0, ""))
    if not identity.place.is_folder_of(place):
        return renew_identity(home.root, identity, home.jobs)
    if identity.place != place:
        log.info("this home was %s, and is %s", identity.place.root, place.root)
        identity = replace(identity, place=place)
        identity.write(home.root)
    return identity
