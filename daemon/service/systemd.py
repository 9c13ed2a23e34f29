"""ServiceManager tells systemd that the daemon is ready, what it does, that it is alive, and that it stops.

The protocol is one datagram of `NAME=value` lines to the socket in $NOTIFY_SOCKET, which is less than a dependency:
sdnotify (PyPI) has had no release since 2017, and systemd's own bindings need its headers to install.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ServiceManager:
    """Sends messages to systemd's socket; without one it sends nothing. No failure to send is raised."""

    def __init__(self, address: str = "", watchdog_seconds: float | None = None) -> None:
        self.address = f"\0{address[1:]}" if address.startswith("@") else address  # @: an abstract one
        self.watchdog_seconds = watchdog_seconds
        """After so many seconds without WATCHDOG=1 systemd ends the process; None: it does not watch."""
        self._last_status = ""

    @classmethod
    def take(cls, environment: MutableMapping[str, str]) -> ServiceManager:
        """Make the manager that `environment` names, and take its variables out: they are not for the workers."""
        address, interval, pid = (environment.pop(name, "") for name in VARIABLES)
        ours = not pid or pid == str(os.getpid())
        seconds = int(interval) / 1e6 if interval.isdecimal() and int(interval) > 0 and ours else None
        return cls(address, seconds)

    def tell(self, **values: str | int) -> None:
        """Send `values`, such as READY=1, STATUS="2 jobs run"."""
        if not self.address:
            return
        message = "\n".join(f"{name}={str(value).replace(chr(10), ' ')}" for name, value in values.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)  # a full queue must not hold up the daemon
                sender.sendto(message.encode("utf-8", "replace"), self.address)
        except OSError:
            return

    def status(self, text: str) -> None:
        """Send the text that `systemctl status` shows, where it has changed."""
        if text != self._last_status:
            self._last_status = text
            self.tell(STATUS=text)
