"""ServiceDefinition says how a service manager starts the daemon: the program, its home, and what it needs of the environment.

A manager reads no shell's files. So what this shell has set, and decides which home, which models and which programs the daemon
finds, is written into the service's own file; secrets are not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prefd.daemon.home.layout import Home

KEPT = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_DATASETS_CACHE",
    "HF_TOKEN_PATH",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "XDG_CACHE_HOME",
    "PREFD_BLAS",
)
"""The variables that decide what a job finds. HF_TOKEN is none of them: the file can be read in every backup."""
SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")
HOMEBREW = "/opt/homebrew/bin"
MARGIN_SECONDS = 60
"""What a stop takes at most, beside the workers' own time to save their state."""


@dataclass(frozen=True)
class ServiceDefinition:
    """ServiceDefinition says how the daemon of one home is started."""

    program: tuple[str, ...]
    """The command of `prefd`, by absolute paths."""
    home: Path
    environment: Mapping[str, str]
    stop_seconds: int
    """How long a stop may take before the daemon is killed."""
    options: tuple[str, ...] = ()
    """Further options of `prefd start`."""

    @classmethod
    def make(
        cls,
        home: Home,
        stop_grace_seconds: float,
        environment: Mapping[str, str] | None = None,
        options: tuple[str, ...] = (),
    ) -> ServiceDefinition:
        """Make that of this installation of prefd and this shell's environment."""
        shell = os.environ if environment is None else environment
        shell_variables = {name: shell[name] for name in KEPT if shell.get(name)}
        variables = {"PATH": make_path(shell.get("PATH", "")), "PREFD_HOME": str(home.root), **shell_variables}
        return cls(find_program(), home.root, variables, int(stop_grace_seconds) + MARGIN_SECONDS, options)


def find_program() -> tuple[str, ...]:
    """Return the command of this very `prefd`: its script, or where it has none the interpreter with its module."""
    script = Path(sys.executable).with_name("prefd")
    return (str(script),) if os.access(script, os.X_OK) else (sys.executable, "-P", "-m", "prefd.daemon.cli")


def make_path(path: str) -> str:
    """Return this shell's PATH for a service: its absolute folders, then the system's that it lacks."""
    folders = [folder for folder in path.split(os.pathsep) if folder.startswith("/")]
    extra = (HOMEBREW, *SYSTEM_PATH) if sys.platform == "darwin" else SYSTEM_PATH
    return os.pathsep.join(dict.fromkeys([*folders, *extra]))


def describe_left_out(environment: Mapping[str, str]) -> str | None:
    """Say which variable of the shell the service does not get, and what to do instead; None where there is none."""
    if not environment.get("HF_TOKEN"):
        return None
    return "HF_TOKEN is not written into the service's file: `hf auth login` keeps it where the daemon finds it"
