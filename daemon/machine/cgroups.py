"""`memory_groups` finds the control groups of this process, where Linux limits and counts memory (versions 1 and 2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


class MemoryGroup(NamedTuple):
    """MemoryGroup names the files of one group; they need not exist."""

    limit: Path
    """Holds the limit in bytes, or a word for none."""
    events: Path
    """Holds lines of a name and a count."""


def memory_groups(root: Path = ROOT, own: Path = OWN) -> Iterator[list[MemoryGroup]]:
    """Yield, for each version, the process's own group and then the groups around it."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines() if line.count(":") >= 2]
    except OSError:
        return
    for _, kinds, place in lines:
        if kinds == "":
            top, limit, events = root, "memory.max", "memory.events"
        elif "memory" in kinds.split(","):
            top, limit, events = root / "memory", "memory.limit_in_bytes", "memory.oom_control"
        else:
            continue
        own_group = Path(place.lstrip("/"))
        yield [MemoryGroup(top / each / limit, top / each / events) for each in (own_group, *own_group.parents)]
