"""`find_manager` chooses the service manager of this machine."""

from __future__ import annotations

import sys

from prefd.daemon.managers.launchd import Launchd
from prefd.daemon.managers.manager import Manager
from prefd.daemon.managers.systemd import Systemd


def find_manager() -> Manager:
    """Return launchd on macOS, and systemd elsewhere; where that is not at work, its first answer says so."""
    return Launchd() if sys.platform == "darwin" else Systemd()
