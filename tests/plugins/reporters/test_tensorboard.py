"""Event files as TensorBoard itself reads them: after a whole run, and after one that was killed and went on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")

from prefd.plugins.reporters.tensorboard import TensorBoard, find_last_steps
from prefd.plugins.reporting import LastSteps, RunEnd
from support.reported_runs import make_run, report_some, row

ROWS = [row(1), row(2), row(2, held_out=True), row(3), row(4), row(4, held_out=True)]


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return read


def scalars(folder: Path, tag: str) -> list[tuple[int, float, float]]:
    return [(each.step, each.value, each.wall_time) for each in read(folder).Scalars(tag)]


def test_a_run_is_read_back_with_its_steps_times_spec_and_end(tmp_path: Path) -> None:
    run = make_run(tmp_path / "tb")
    report_some(TensorBoard(), run, *ROWS).close(RunEnd("done", "trained 4 steps"))
    steps = scalars(run.folder, "rewards/margins")
    assert steps == [(step, 0.5 * step, 1e9 + step) for step in (1, 2, 3, 4)]
    assert scalars(run.folder, "eval_loss") == [(2, 0.5, 1e9 + 2), (4, 0.25, 1e9 + 4)]
    texts = {tag: read(run.folder).Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in ("spec", "end")}
    assert '"beta": 0.3' in texts["spec"]
    assert texts["end"] == "done: trained 4 steps"


def test_a_killed_run_is_readable_and_goes_on_without_a_step_twice(tmp_path: Path) -> None:
    run = make_run(tmp_path / "tb", LastSteps(train=3, held_out=2))  # what prefd noted before the kill
    report_some(TensorBoard(), run, *ROWS[:4]).close(None)
    (file,) = run.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-20])  # the kill cut the last record
    assert find_last_steps(run.folder) == LastSteps(train=2, held_out=2)
    assert [step for step, *_ in scalars(run.folder, "loss")] == [1, 2]
    report_some(TensorBoard(), run, *ROWS).close(RunEnd("done"))
    assert [step for step, *_ in scalars(run.folder, "loss")] == [1, 2, 3, 4]
    assert [step for step, *_ in scalars(run.folder, "eval_loss")] == [2, 4]
    assert find_last_steps(run.folder) == LastSteps(train=4, held_out=4)
