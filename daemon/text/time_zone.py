"""`explain_unknown_zone` tells of a time zone that this machine does not know: the system takes it for UTC, and says nothing."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

FOLDERS = ("/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/etc/zoneinfo", "/var/db/timezone/zoneinfo")
"""Where the systems keep their time zones."""
RULE = re.compile(r"(<[\w+-]{3,}>|[A-Za-z]{3,})[+-]?\d.*")
"""A zone that brings its own rule, such as `CET-1CEST`, and needs no file."""
MEANS_UTC = {"UTC", "UCT", "GMT", "GMT0", "ZULU", "UNIVERSAL", "GREENWICH"}
"""The last parts of the names of zones that are UTC anyway."""
LOCALTIME = Path("/etc/localtime")


def explain_unknown_zone(localtime: Path = LOCALTIME) -> str | None:
    """Says which time zone is set and unknown here, what that means, and what helps; None where there is none."""
    if time.timezone or time.daylight:  # the system knows it, and it is not UTC
        return None
    name = os.environ.get("TZ")
    if name is None:
        if not localtime.is_symlink() or localtime.exists():
            return None
        name, problem = os.readlink(localtime), f"{localtime} leads to {os.readlink(localtime)}, which is not there"
        name = name.partition("zoneinfo/")[2]
    else:
        name = name.removeprefix(":")
        if not name or _is_known(name):
            return None
        problem = f"$TZ is {name!r}, which is no time zone that this system knows"
    return f"{problem}: local time is UTC here, in what is read and in what is shown ({_find_remedy(name)})"


def _is_known(name: str) -> bool:
    """Says whether the system finds the zone of this name, or needs not look for it."""
    if RULE.fullmatch(name) or name.rpartition("/")[2].upper() in MEANS_UTC:
        return True
    folders = [os.environ["TZDIR"]] if "TZDIR" in os.environ else FOLDERS
    return any(Path(folder, name).is_file() for folder in folders)  # an absolute name leads out of the folder


def _find_remedy(name: str) -> str:
    """Names what to do: the zone that was probably meant, or the package that brings all of them."""
    import difflib
    import zoneinfo

    zones = sorted(zoneinfo.available_timezones())
    if not zones or name in zones:
        return "install tzdata, which has the time zones"
    by_lower_case = {each.lower(): each for each in zones}
    nearest = difflib.get_close_matches(name.lower(), list(by_lower_case), 1)
    return f"did you mean {by_lower_case[nearest[0]]}?" if nearest else "zones are written Europe/Berlin, or CET-1CEST"
