"""Launchd starts the daemon as an agent of the user's on macOS.

An agent of the graphical session, for what asks the user about access to folders needs one.
"""

from __future__ import annotations

import os
import plistlib
import time
from pathlib import Path
from typing import Any

from prefd.daemon.managers.definition import ServiceDefinition
from prefd.daemon.managers.manager import Manager, ServiceError, ask

LABEL = "prefd"
UNLOAD_SECONDS = 10.0
"""How long launchd may take to let go of an agent; it refuses the next of its name until then."""


class Launchd(Manager):
    """Launchd drives launchd, by `launchctl`."""

    name = "launchd"

    @property
    def file(self) -> Path:
        """Return the file of the agent's property list."""
        return Path.home() / "Library" / "LaunchAgents" / "prefd.plist"

    @property
    def domain(self) -> str:
        """Return launchd's name of the user's graphical session."""
        return f"gui/{os.getuid()}"

    def write(self, service: ServiceDefinition) -> str:
        """Return the property list."""
        document: dict[str, Any] = {
            "Label": LABEL,
            "ProgramArguments": [*service.program, "start", "--log-to-file", *service.options],
            "EnvironmentVariables": dict(service.environment),
            "StandardErrorPath": str(
                Path.home() / "Library" / "Logs" / "prefd.err"
            ),  # what is said before the log is open
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 10,
            "ExitTimeOut": service.stop_seconds,  # between SIGTERM and SIGKILL
            "ProcessType": "Interactive",  # the default throttles processor and disk
            "SoftResourceLimits": {"NumberOfFiles": 8192},
            "Umask": 0o077,
        }
        return plistlib.dumps(document).decode()

    def load(self) -> None:
        """Boot an old agent out, and bootstrap the one in the file. Raises ServiceError."""
        self.unload()
        deadline = time.monotonic() + UNLOAD_SECONDS
        while self.describe() is not None and time.monotonic() < deadline:
            time.sleep(0.2)
        try:
            ask("launchctl", "bootstrap", self.domain, str(self.file))
        except ServiceError as error:
            raise ServiceError(
                f"{error}; over ssh there is no graphical session to start it in: log in at the Mac"
            ) from None

    def unload(self) -> None:
        """Boot the agent out; one that is not loaded is no fault."""
        ask("launchctl", "bootout", f"{self.domain}/{LABEL}", may_fail=True)

    def describe(self) -> str | None:
        """Return what `launchctl print` says of it; None where it is not loaded."""
        return ask("launchctl", "print", f"{self.domain}/{LABEL}", may_fail=True) or None
