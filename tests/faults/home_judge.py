"""The judge counts what may not happen to the jobs of homes that are copied, restored, moved and killed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.home_slots import Slot
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable, JobTableError

OUTSIDE = ("stopped from outside", "neither prefd nor")
"""How the reasons read of a worker that something other than its own daemon stopped or killed."""

Counts = dict[str, int]
MUST_BE_ZERO = (
    "wrong adapter",
    "foreign processes touched",
    "run twice unasked",
    "ended and run again",
    "cancelled by another home's command",
    "daemons that ended by themselves",
    "daemons that outlived their home",
    "stops that failed",
    "did not end",
    "failed",
    "a lock that is not given up",
    "a daemon that does not start",
    "twins that did not end",
)


@dataclass
class Judge:
    """What is counted of one sequence."""

    folder: Path
    """That of the sequence, with the trace that its workers write."""
    expect_adapter: Callable[[dict[str, Any]], bytes]
    """The adapter of a job with this spec that nobody disturbed."""
    counts: Counter[str] = field(default_factory=Counter)

    def look_for_touched(self, slots: Iterable[Slot]) -> None:
        """Count the workers that something other than their own daemon stopped, before a home of theirs is removed."""
        for slot in slots:
            for reasons in list_reasons(slot.home):
                self.counts["foreign processes touched"] += any(each in reasons for each in OUTSIDE)

    def audit(self, slot: Slot) -> None:
        """Each job that is done has the adapter of its own spec, ended once, and nobody cancelled it but its own commands."""
        with suppress(JobTableError, OSError), JobTable.open_readonly(slot.home.database) as table:
            for job in table.list():
                states = [event.state for event in table.history(job.id)]
                spec = table.spec(job.id).model_dump(mode="json", exclude_unset=True)
                adapter = slot.home.job(job.id) / "adapter" / "adapters.safetensors"
                if job.state == "done":
                    self.counts["jobs done"] += 1
                    self.counts["wrong adapter"] += not adapter.exists() or adapter.read_bytes() != self.expect_adapter(
                        spec
                    )
                if not job.origin:
                    self.counts["ended and run again"] += states.count("done") > 1
                    self.counts["cancelled by another home's command"] += (
                        job.state == "cancelled" and job.name not in slot.cancelled
                    )
                self.counts["failed"] += job.state == "failed"

    def audit_trace(self, repeats: Mapping[str, int]) -> None:
        """No job was trained to its end in more folders than somebody asked for."""
        folders = defaultdict[str, set[int]](set)
        trace = self.folder / "trace.jsonl"
        for line in trace.read_text().splitlines() if trace.exists() else ():
            event = json.loads(line)
            if event["event"] == "end":
                folders[event["name"]].add(event["folder"])
        for name, there in folders.items():
            if len(there) > 1 + repeats.get(name, 0):
                self.counts["run twice unasked"] += 1


def list_reasons(home: Home) -> Iterator[str]:
    """The reasons for every change of a home's jobs."""
    with suppress(JobTableError, OSError), JobTable.open_readonly(home.database) as table:
        yield from [event.reason for job in table.list() for event in table.history(job.id)]


def wrong(counts: Counts) -> Counts:
    """What has to be 0 and is not."""
    return {name: counts[name] for name in MUST_BE_ZERO if counts.get(name)}
