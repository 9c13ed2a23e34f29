"""Reads which home a service manager's daemon serves: a PREFD_HOME in ~/.bashrc is none of what it knows."""

from __future__ import annotations

import os
import plistlib
import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import platformdirs

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import expand_user, follow_links

ENVIRONMENT = re.compile(r"^Environment=(.*)$", re.MULTILINE)
START = re.compile(r"^ExecStart=(.+)$", re.MULTILINE)


def read_unit_home(unit: Path) -> Path:
    """Return the home that a unit of systemd and the files that override it name. Raises OSError, and ValueError for odd quotes."""
    overrides = sorted((unit.parent / f"{unit.name}.d").glob("*.conf"))
    text = "\n".join(file.read_text(encoding="utf-8") for file in (unit, *overrides))
    settings = dict(word.partition("=")[::2] for line in ENVIRONMENT.findall(text) for word in shlex.split(line))
    start = START.findall(text)
    return _choose_home(shlex.split(start[-1]) if start else [], settings.get("PREFD_HOME", ""))


def read_agent_home(agent: Path) -> Path:
    """Return the home that an agent of launchd names. Raises OSError, ValueError, KeyError."""
    document = plistlib.loads(agent.read_bytes())
    return _choose_home(document["ProgramArguments"], document.get("EnvironmentVariables", {}).get("PREFD_HOME", ""))


def describe_other_home(service: Path, home: Home) -> str:
    """Say which home the service serves, where it is not the one that the shell's PREFD_HOME names; "" where it is, or none is named."""
    named = os.environ.get("PREFD_HOME")
    if not named or follow_links(expand_user(named)) != home.root or service == home.root:
        return ""
    return f"the service serves {service}, and PREFD_HOME is {home.root}: specs that you submit wait there for another daemon"


def _choose_home(command: Sequence[str], variable: str) -> Path:
    """Choose as the daemon does: `--home`, else the variable, else the user's data folder."""
    options = [after for word, after in pairwise(command) if word == "--home"]
    options += [word.partition("=")[2] for word in command if word.startswith("--home=")]
    chosen = options[-1] if options else variable or platformdirs.user_data_dir("prefd", appauthor=False)
    return follow_links(expand_user(chosen.replace("%h", str(Path.home()))))
