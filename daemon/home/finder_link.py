"""The link in a user's own folder by which Finder shows a home whose place it hides.

macOS keeps what programs write in ~/Library, which Finder does not show; a watched folder that nobody finds is of no use. The home
stays where it is, for a folder at ~/prefd may be a clone of prefd itself; a link is made only where nothing is.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from prefd.daemon.home.layout import Home, locate_default
from prefd.daemon.machine.files import follow_links


def link_for_finder(home: Home) -> Path | None:
    """Make ~/prefd a link to a Mac's default home, and return it where it was made now. What is there already stays as it is."""
    link = Path.home() / "prefd"
    if not is_hidden(home) or link.is_symlink() or link.exists():
        return None
    with suppress(OSError):
        link.symlink_to(home.root, target_is_directory=True)
        return link
    return None


def find_link(home: Home) -> Path | None:
    """Return the link to the home; None where there is none, or what is there leads elsewhere."""
    link = Path.home() / "prefd"
    with suppress(OSError):
        if link.is_symlink() and follow_links(link) == home.root:
            return link
    return None


def is_hidden(home: Home) -> bool:
    """Return whether this is the home of a user who names no other, on a system whose file manager hides it."""
    return sys.platform == "darwin" and home.root == follow_links(locate_default())
