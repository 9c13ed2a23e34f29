"""The files of a run: checkpoints with the best among them, outputs, and earlier attempts."""

from __future__ import annotations

import json
from pathlib import Path

from prefd.daemon.runs.run_files import list_files
from prefd.daemon.runs.run_folder import RunDir


def test_checkpoints_outputs_and_attempts_are_listed(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for step in (20, 100, 3):
        folder = run.checkpoints / f"step-{step:08d}"
        folder.mkdir(parents=True)
        (folder / "adapters.safetensors").write_bytes(b"x" * 5000)
        (folder / "state.json").write_text(json.dumps({"step": step, "selection": {"best": {"step": min(step, 20)}}}))
    (run.checkpoints / ".step-00000101").mkdir()
    (run.checkpoints / "step-new").mkdir()
    run.adapter.mkdir()
    (run.root / "attempts" / "2").mkdir(parents=True)
    run.log.write_text("line\n")
    files = list_files(run)
    assert [(each.step, each.best) for each in files.checkpoints] == [(3, False), (20, True), (100, False)]
    assert files.checkpoints[0].bytes >= 5000
    assert files.bytes >= sum(each.bytes for each in files.checkpoints)
    assert files.adapter is not None
    assert (files.adapter.path, files.fused, files.metrics, files.attempts) == (str(run.adapter), None, None, [2])
    assert files.log is not None


def test_a_folder_that_is_gone_has_no_files(tmp_path: Path) -> None:
    files = list_files(RunDir(tmp_path / "gone"))
    assert (files.bytes, files.checkpoints, files.adapter, files.attempts) == (0, [], None, [])
