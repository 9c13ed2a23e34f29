"""Tells whose folder `jobs/` is, where it is a link: two homes that have one folder would take each other's specs."""

from __future__ import annotations

from pathlib import Path

from prefd.daemon.home.identity import FILE
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import follow_links


def find_other_home(home: Home) -> Path | None:
    """Return the home whose own folder `jobs/` is a link to; None where it leads to no other home's."""
    if not home.jobs.is_symlink():
        return None
    target = follow_links(home.jobs)
    marks = (FILE, home.database.name, home.config.name)
    is_of_a_home = target.name == home.jobs.name and any((target.parent / mark).exists() for mark in marks)
    return target.parent if is_of_a_home and target.parent != home.root else None


def explain_sharing(home: Home, other: Path) -> str:
    """Say that two homes have one folder, and what to do."""
    return (
        f"{home.jobs} leads to the folder of the home {other}: each would take the other's specs, so nothing is claimed "
        "from here; remove the link, and the next start makes a folder of its own"
    )
