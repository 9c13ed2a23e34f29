"""What `prefd doctor` finds where a test expects one thing."""

from __future__ import annotations

from collections.abc import Iterable

from prefd.daemon.health.finding import HealthFinding


def only(findings: Iterable[HealthFinding]) -> HealthFinding:
    """The one finding that there is."""
    (finding,) = list(findings)
    return finding
