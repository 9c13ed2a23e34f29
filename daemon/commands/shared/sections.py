"""HelpPlace says where the commands of a file stand in `prefd --help`; each file of commands has one, as `PLACE`."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Section(StrEnum):
    """Section is a part of the list of commands; its value is the heading, and the parts come in this order."""

    DAEMON = "The daemon"
    JOBS = "Jobs"
    SCORES = "Losses and cache"
    SHELL = "The shell"


class HelpPlace(NamedTuple):
    """HelpPlace says where a file's commands stand in the help: the lower `rank` comes first, and a file's own commands as they are written."""

    section: Section
    rank: int
