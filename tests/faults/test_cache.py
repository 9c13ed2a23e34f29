"""A bounded share of the cache's fault tests; `make faults` runs all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from faults.cache import run

pytestmark = pytest.mark.slow


def test_a_killed_writer_loses_nothing_that_it_had_acknowledged(tmp_path: Path) -> None:
    counts = run("kills", tmp_path / "cache", 25)
    assert counts["acknowledged"] > 60
    assert (counts["lost"], counts["wrong"], counts["unreadable"]) == (0, 0, 0)


def test_four_writers_at_once_end_with_everything_there_once(tmp_path: Path) -> None:
    counts = run("writers", tmp_path / "cache", 8)
    assert counts["steps seen by a running reader"] > 1
    assert (counts["segments"], counts["missing"], counts["not put"]) == (32, 0, 0)
    assert (counts["visible twice"], counts["wrong"], counts["disagreements"], counts["failed writers"]) == (0, 0, 0, 0)


def test_every_damaged_byte_is_a_miss_with_a_report_and_no_value_is_wrong(tmp_path: Path) -> None:
    counts = run("damage", tmp_path / "cache", 17)
    assert counts["files"] == 11
    assert counts["damaged"] > 300
    assert counts["a miss with a report"] == counts["damaged"]
    assert (counts["wrong"], counts["undetected"]) == (0, 0)


def test_a_full_disk_is_an_error_and_the_next_put_works(tmp_path: Path) -> None:
    counts = run("full", tmp_path / "cache", 20)
    assert counts["refusals"] >= 16
    assert (counts["not an OSError"], counts["next put failed"]) == (0, 0)
    assert (counts["old entries lost"], counts["wrong"], counts["left in staging"]) == (0, 0, 0)
