"""What `prefd status` shows of the watched folder."""

from __future__ import annotations

from prefd.daemon import render
from prefd.daemon.inbox_health import WatchHealth

SHOWN = 5


def watch_facts(health: WatchHealth) -> list[tuple[str, str]]:
    """How the folder is watched, what is wrong with it, and what is left alone in it, as names and values."""
    moments = [
        f"{event} {render.clock(moment)}"
        for event, moment in (("last event", health.last_event), ("last rescan", health.last_rescan))
        if moment
    ]
    facts = [("watching", ", ".join([health.mode + (f" ({health.why})" if health.why else ""), *moments]))]
    facts += [("", trouble) for trouble in (health.error, health.folder) if trouble]
    names = list(health.left_alone.items())
    for number, (name, reason) in enumerate(names[:SHOWN], 1):
        more = f" (and {len(names) - SHOWN} more)" if number == SHOWN < len(names) else ""
        facts.append(("left alone" if number == 1 else "", f"{name} {reason}{more}"))
    return facts
