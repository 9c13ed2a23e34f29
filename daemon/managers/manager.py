"""Manager is what a service manager does for prefd; `find_manager` chooses this machine's."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from prefd.daemon.errors import PrefdError
from prefd.daemon.managers.definition import ServiceDefinition

TIMEOUT_SECONDS = 60.0


class ServiceError(PrefdError):
    """The service manager is not there or refuses; the message has its own words, and what to do."""


class Manager(ABC):
    """Manager drives a service manager of this user's, by its own program."""

    name: str
    """What it is called."""

    @property
    @abstractmethod
    def file(self) -> Path:
        """Return the file that tells the manager of the service."""

    @abstractmethod
    def write(self, service: ServiceDefinition) -> str:
        """Return what the service's file says."""

    @abstractmethod
    def load(self) -> None:
        """Have the manager start what the file says, in place of what it had loaded before. Raises ServiceError."""

    @abstractmethod
    def unload(self) -> None:
        """Have the manager stop the service and forget it. Raises ServiceError."""

    @abstractmethod
    def describe(self) -> str | None:
        """Return what the manager itself says of the service; None where it knows none. Raises ServiceError."""

    def install(self, service: ServiceDefinition) -> None:
        """Write the file and have the service started; a new file that cannot be loaded is taken away. Raises ServiceError, OSError."""
        is_new = not self.file.exists()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(self.write(service), encoding="utf-8")
        self.file.chmod(0o600)
        try:
            self.load()
        except ServiceError:
            if is_new:
                self.file.unlink(missing_ok=True)
            raise

    def uninstall(self) -> bool:
        """Stop the service and remove its file; False where there was none. Raises ServiceError, OSError."""
        if not self.file.exists():
            return False
        self.unload()
        self.file.unlink(missing_ok=True)
        return True


def ask(*command: str, may_fail: bool = False) -> str:
    """Run the manager's program and return what it prints. Raises ServiceError where it is not there, or fails and may not."""
    try:
        child = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace", check=False, timeout=TIMEOUT_SECONDS
        )  # fmt: skip
    except FileNotFoundError:
        raise ServiceError(f"{command[0]} is not here: prefd knows launchd and systemd as service managers") from None
    except subprocess.TimeoutExpired:
        raise ServiceError(f"`{' '.join(command)}` gave no answer within {TIMEOUT_SECONDS:g} s") from None
    if child.returncode and not may_fail:
        reason = " ".join((child.stderr or child.stdout).split()) or f"exit code {child.returncode}"
        raise ServiceError(f"`{' '.join(command)}` failed: {reason}")
    return child.stdout if not child.returncode else ""
