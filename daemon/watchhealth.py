"""What `prefd status` shows of the watched folder. Apart from the watcher, which takes a while to import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefd.daemon.moments import format_clock

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
