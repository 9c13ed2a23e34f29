"""`find_host_id` names this machine, to be told from others that write into the same folder."""

from __future__ import annotations

import platform
import sys

from prefd.daemon.machine import darwin

HARDWARE_ID = b"kern.uuid"


def find_host_id() -> str:
    """Return what stays the same on this machine: its name, or of a Mac, whose name changes with the network, its own id."""
    hardware_id = darwin.read_text(HARDWARE_ID) if sys.platform == "darwin" else ""
    return hardware_id or platform.node()
