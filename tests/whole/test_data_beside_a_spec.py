"""A newcomer's folder, dropped as it is: the spec becomes a job, and what it reads stays where its relative path says."""

from __future__ import annotations

import json

import pytest

from support import fake_worker
from support.running_daemon import Place


@pytest.mark.slow
def test_data_and_notes_beside_a_spec_stay_and_the_spec_runs(place: Place) -> None:
    jobs = place.home.jobs
    names = ["pairs.jsonl", "rows.json", "README.md", "old.zip", "ipo (Bob's conflicted copy 2026-11-28).yaml"]
    with place.daemon() as client:
        for name in names:
            (jobs / name).write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
        spec = json.loads(fake_worker.spec_text(place.folder)) | {"data": {"path": "pairs.jsonl"}}
        (jobs / "ipo.json").write_text(json.dumps(spec))
        place.wait_for("done")
        fake_worker.wait_for(lambda: len(client.status().watcher.left_alone) == len(names))
        left_alone = client.status().watcher.left_alone
        assert "is data" in left_alone["'pairs.jsonl'"]
        assert "is data" in left_alone["'rows.json'"]
        assert "changed in two places" in left_alone[repr(names[-1])]
        (jobs / names[-1]).rename(jobs / "bobs.yaml")  # it is to be a job after all, and is none
        fake_worker.wait_for(lambda: "bobs.yaml" in place.rejected())
    assert sorted(path.name for path in jobs.iterdir() if path.is_file()) == sorted(names[:-1])
    assert [job.state for job in place.jobs()] == ["done"]
