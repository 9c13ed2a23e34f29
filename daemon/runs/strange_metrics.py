"""`keep_strange_metrics` renames a metrics.jsonl that its job has not written: files are copied and restored into run folders."""

from __future__ import annotations

from pathlib import Path


def keep_strange_metrics(metrics: Path) -> Path:
    """Rename the file to a name beside it that is not in use, and return that."""
    names = (f"metrics-before{'' if number == 1 else f'-{number}'}.jsonl" for number in range(1, 10_000))
    aside = next(path for name in names if not (path := metrics.with_name(name)).exists())
    metrics.rename(aside)
    return aside
