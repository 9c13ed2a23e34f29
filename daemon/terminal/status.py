"""Lists what `prefd status` shows of the watched folder and of the machine, as names and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefd.daemon.inbox.health import WatchHealth
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.times import format_clock, format_duration

if TYPE_CHECKING:  # it loads psutil
    from prefd.daemon.control.status import Power
    from prefd.daemon.health.usage import Usage
    from prefd.daemon.home.page_record import PageRecord
    from prefd.daemon.home.serve_record import ServeRecord

MOST_NAMES = 5


def watch_facts(health: WatchHealth) -> list[tuple[str, str]]:
    """Lists how the folder is watched, what is wrong with it, and which files in it are left alone."""
    moments = [
        f"{event} {format_clock(moment)}"
        for event, moment in (("last event", health.last_event), ("last rescan", health.last_rescan))
        if moment
    ]
    facts = [("watching", ", ".join([health.mode + (f" ({health.why})" if health.why else ""), *moments]))]
    facts += [("", trouble) for trouble in (health.error, health.folder) if trouble]
    names = list(health.left_alone.items())
    for number, (name, reason) in enumerate(names[:MOST_NAMES], 1):
        omitted = f" (and {len(names) - MOST_NAMES} more)" if number == MOST_NAMES < len(names) else ""
        facts.append(("left alone" if number == 1 else "", f"{name} {reason}{omitted}"))
    return facts


def page_facts(page: PageRecord | None, trouble: str | None = None) -> list[tuple[str, str]]:
    """Lists where the page is served, or why it is not where the daemon was to serve it."""
    if page is not None:
        return [("page", f"{page.address} (pid {page.pid}); `prefd web --show-url` has the token")]
    return [("page", f"not served: {trouble}")] if trouble else []


def client_facts(clients: ServeRecord | None, trouble: str | None = None) -> list[tuple[str, str]]:
    """Lists where Tinker clients are served, or why they are not where the daemon was to serve them."""
    if clients is not None:
        return [("clients", f"{clients.address} (pid {clients.pid}); `prefd serve --show-key` has the key")]
    return [("clients", f"not served: {trouble}")] if trouble else []


def power_facts(power: Power) -> list[tuple[str, str]]:
    """Lists what the machine's power does to jobs, as far as the system tells."""
    facts = [power.kept_awake] if power.kept_awake else []
    if power.battery_percent is not None:
        facts.append(f"battery at {power.battery_percent:.0f} %, {'plugged in' if power.plugged else 'not plugged in'}")
    if power.slept_s is not None and power.slept_s >= 1:
        facts.append(f"slept {format_duration(power.slept_s)} since it was started")
    if power.thermal_pressure:
        facts.append(f"slowed by heat (thermal pressure {power.thermal_pressure})")
    if power.memory_pressure:
        facts.append(f"short of memory (macOS calls its pressure {power.memory_pressure})")
    return [("machine", "; ".join(facts))] if facts else []


def usage_facts(usage: Usage) -> list[tuple[str, str]]:
    """Lists what prefd takes of the machine, and what is left of it, as names and values."""
    memory, disk, home = usage.memory, usage.disk, usage.home
    holders = [] if memory.daemon_bytes is None else [f"daemon {format_size(memory.daemon_bytes)}"]
    holders += [] if memory.page_bytes is None else [f"page {format_size(memory.page_bytes)}"]
    holders += [f"job {worker.job} {format_size(worker.bytes)}" for worker in memory.workers]
    free = f"{format_size(memory.available_bytes)} of {format_size(memory.total_bytes)} available"
    bound = "" if home.complete else "more than "
    contents = f"cache {format_size(home.cache_bytes)}, runs {format_size(home.runs_bytes)}"
    return [
        ("memory", "; ".join([*([", ".join(holders)] if holders else []), free])),
        ("disk", f"{bound}{contents}; {format_size(disk.free_bytes)} of {format_size(disk.total_bytes)} free"),
    ]
