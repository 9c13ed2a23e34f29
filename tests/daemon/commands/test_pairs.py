"""`prefd pairs` shows what was scored, scores what was not, and says why it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.queue import pair_worker
from support import homes
from support.pairs_on_disk import write_pairs

MARGINS = [0.5, -0.25, 0.0, 1.5]


@pytest.fixture
def done(ready_home: Home) -> Home:
    homes.add_done(ready_home)
    return ready_home


def test_pairs_are_shown_the_worst_first_with_their_texts(done: Home) -> None:
    write_pairs(done, 1, MARGINS)
    shown = homes.invoke(done, "pairs", 1)
    assert shown.exit_code == 0, shown.output
    assert "1 (smol-ipo), step 12, against org/model" in shown.stdout
    assert "2 of 3 the wrong way round" in shown.stdout
    places = [line.split()[1] for line in shown.stdout.splitlines() if "trained on: " in line or "held out: " in line]
    assert places == ["pairs.jsonl:2,", "pairs.jsonl:3,", "pairs.jsonl:1,", "pairs.jsonl:4,"]
    assert "  chosen   Good 2. Yes." in shown.stdout
    assert "Bad 2 [b]." in shown.stdout
    assert "a remark" in shown.stderr


def test_parts_limits_and_json(done: Home) -> None:
    write_pairs(done, 1, MARGINS)
    wrong = json.loads(homes.invoke(done, "pairs", 1, "--only", "wrong", "--limit", 1, "--json").stdout)
    assert (wrong["total"], [pair["row"] for pair in wrong["pairs"]], wrong["wrong"]) == (2, [2], 2)
    assert wrong["pairs"][0]["tokens"] == {"prompt": 3, "chosen": 4, "rejected": 5}
    assert wrong["head"]["histogram"]["from"] <= -0.25
    both = json.loads(homes.invoke(done, "pairs", 1, "--only", "wrong", "--only", "held-out", "--json").stdout)
    assert both["total"] == 0
    best = json.loads(homes.invoke(done, "pairs", 1, "--order", "best", "--limit", 0, "--json").stdout)
    assert [pair["margin"] for pair in best["pairs"]] == sorted(MARGINS, reverse=True)


def test_pairs_that_are_not_scored_yet_are_scored_here(done: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[int] = []

    async def run_worker(home: Home, job_id: int, *_: Any) -> str | None:
        requests.append(job_id)
        write_pairs(home, job_id, MARGINS)
        return None

    monkeypatch.setattr(pair_worker, "_run_worker", run_worker)
    monkeypatch.setattr("prefd.daemon.specs.catalog_listing.load_catalog", lambda home: type("C", (), {"failures": {}}))
    for arguments in ((), (), ("--again",)):
        shown = homes.invoke(done, "pairs", 1, *arguments)
        assert shown.exit_code == 0, shown.output
    assert requests == [1, 1]
    assert not (done.job(1) / "pairs" / "state.json").exists()


def test_why_they_cannot_be_scored_is_told(done: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_worker(*_: Any) -> str | None:
        return "the pairs are not those that job 1 was trained on"

    monkeypatch.setattr(pair_worker, "_run_worker", run_worker)
    monkeypatch.setattr("prefd.daemon.specs.catalog_listing.load_catalog", lambda home: type("C", (), {"failures": {}}))
    failed = homes.invoke(done, "pairs", 1)
    assert failed.exit_code == Exit.JOB_FAILED
    assert "the pairs are not those that job 1 was trained on" in failed.stderr
    homes.add_failed(done, name="bad")
    homes.add_queued(done, name="waits")
    for job, reason in ((2, "failed: its pairs can be scored when it is done"), (3, "is queued: its pairs")):
        refused = homes.invoke(done, "pairs", job)
        assert refused.exit_code == Exit.FAILED
        assert reason in refused.stderr
    assert homes.invoke(done, "pairs", 9).exit_code == Exit.NOT_FOUND


def test_the_table_opens_in_any_tool(done: Home) -> None:
    from pyarrow import parquet

    write_pairs(done, 1, MARGINS)
    table = parquet.read_table(Path(done.job(1)) / "pairs" / "pairs.parquet")
    assert table["margin"].to_pylist() == MARGINS


def test_two_jobs_are_compared_pair_by_pair(done: Home) -> None:
    homes.add_done(done, name="other")
    write_pairs(done, 1, [0.5, -0.25, 0.3, 1.5])
    assert "scored in both" not in homes.invoke(done, "compare", 1, 2).stdout
    assert "pairs" not in json.loads(homes.invoke(done, "compare", 1, 2, "--json").stdout)
    write_pairs(done, 2, [0.1, 0.2, -0.3, -0.4, 5.0], ["pair 1", "pair 2", "pair 3", "pair 4", "new"])
    shown = homes.invoke(done, "compare", 1, 2).stdout
    assert "4 pairs scored in both: 1 right in both, 0 wrong in both" in shown
    assert "2 pairs right only in 1" in shown
    assert "  pairs.jsonl:2, trained on: margins -0.2500 and 0.2000" in shown
    pairs = json.loads(homes.invoke(done, "compare", 1, 2, "--json").stdout)["pairs"]
    assert [pair["row"] for pair in pairs["right_only_in"]["1"]] == [4, 3]
    assert [pair["margins"] for pair in pairs["right_only_in"]["2"]] == [[-0.25, 0.2]]
