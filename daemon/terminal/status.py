"""What `prefd status` shows of the watched folder and of the machine, as names and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefd.daemon.inbox.health import WatchHealth
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.times import format_clock

if TYPE_CHECKING:  # it loads psutil
    from prefd.daemon.health.usage import Usage

SHOWN = 5


def watch_facts(health: WatchHealth) -> list[tuple[str, str]]:
    """How the folder is watched, what is wrong with it, and what is left alone in it, as names and values."""
    moments = [
        f"{event} {format_clock(moment)}"
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


def usage_facts(usage: Usage) -> list[tuple[str, str]]:
    """What prefd takes of the machine, and what is left of it, as names and values."""
    memory, disk, home = usage.memory, usage.disk, usage.home
    holders = [] if memory.daemon_bytes is None else [f"daemon {format_size(memory.daemon_bytes)}"]
    holders += [f"job {worker.job} {format_size(worker.bytes)}" for worker in memory.workers]
    free = f"{format_size(memory.available_bytes)} of {format_size(memory.total_bytes)} available"
    over = "" if home.complete else "more than "
    taken = f"cache {format_size(home.cache_bytes)}, runs {format_size(home.runs_bytes)}"
    return [
        ("memory", "; ".join([*([", ".join(holders)] if holders else []), free])),
        ("disk", f"{over}{taken}; {format_size(disk.free_bytes)} of {format_size(disk.total_bytes)} free"),
    ]
