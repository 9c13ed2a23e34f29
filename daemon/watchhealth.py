"""What `prefd status` shows of the watched folder and of the machine, as names and values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefd.daemon.moments import format_clock
from prefd.daemon.sizes import format_size

SHOWN = 5


def watch_facts(health: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lines for `prefd status`, of a WatchHealth as JSON."""
    when = [
        f"{said} {format_clock(health[key])}"
        for key, said in (("last_event", "last event"), ("last_rescan", "last rescan"))
        if health[key]
    ]
    facts = [("watching", ", ".join([health["mode"] + (f" ({health['why']})" if health["why"] else ""), *when]))]
    facts += [("", told) for told in (health["error"], health["folder"]) if told]
    left = list(health["left_alone"].items())
    for at, (name, why) in enumerate(left[:SHOWN]):
        more = f" (and {len(left) - SHOWN} more)" if at + 1 == SHOWN < len(left) else ""
        facts.append(("" if at else "left alone", f"{name} {why}{more}"))
    return facts


def usage_facts(usage: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Lines for `prefd status`, of what `usage.gather` found."""
    memory, disk, home = usage["memory"], usage["disk"], usage["home"]
    holders = [] if memory["daemon_bytes"] is None else [f"daemon {format_size(memory['daemon_bytes'])}"]
    holders += [f"job {worker['job']} {format_size(worker['bytes'])}" for worker in memory["workers"]]
    free = f"{format_size(memory['available_bytes'])} of {format_size(memory['total_bytes'])} available"
    over = "" if home["complete"] else "more than "
    taken = f"cache {format_size(home['cache_bytes'])}, runs {format_size(home['runs_bytes'])}"
    return [
        ("memory", "; ".join([*([", ".join(holders)] if holders else []), free])),
        ("disk", f"{over}{taken}; {format_size(disk['free_bytes'])} of {format_size(disk['total_bytes'])} free"),
    ]
