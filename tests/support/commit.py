"""The commit that is tried, for tables that say of what they are."""

from __future__ import annotations

import subprocess

from support.paths import ROOT


def name_commit() -> str:
    """The commit by the last tag before it, with `-dirty` where something is changed; "no repository" in an unpacked archive."""
    command = ["git", "-C", str(ROOT), "describe", "--tags", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no repository"
