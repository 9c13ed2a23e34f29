"""Runs of Weights & Biases, offline, as its own records in the file that `wandb sync` sends have them."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "wandb", reason="the extra `wandb` is not installed: it takes 62 MB, and the usual tests do without"
)

from prefd.plugins.reporters.wandb import WeightsAndBiases
from prefd.plugins.reporting import LastSteps, RunEnd
from support.fake_worker import wait_for
from support.reported_runs import make_run, report_some, row

ROWS = [row(1), row(2), row(2, held_out=True), row(3), row(4), row(4, held_out=True)]
HEADER, BLOCK = 7, 32_768


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has logged in on this machine, and nothing says that runs are offline."""
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def read_frames(data: bytes) -> Iterator[bytes]:
    """The records in the blocks of LevelDB's log format, behind its 7 bytes of header; a cut one is none."""
    position, parts = HEADER, b""
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        position += HEADER
        parts += data[position : position + length]
        position += length
        if kind in (1, 4):
            yield parts
            parts = b""


def read_records(folder: Path) -> list[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    files = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    records = []
    for frame in (frame for path in files for frame in read_frames(path.read_bytes())):
        records.append(Record())
        records[-1].ParseFromString(frame)
    return records


def read_history(records: list[Any]) -> list[dict[str, Any]]:
    rows = [record.history for record in records if record.WhichOneof("record_type") == "history"]
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in each.item}
        | {"step": each.step.num}
        for each in rows
    ]


@pytest.mark.thorough
def test_a_run_that_went_on_is_one_run_offline_and_has_no_step_twice(tmp_path: Path) -> None:
    run = make_run(tmp_path / "wb", LastSteps())
    report_some(WeightsAndBiases(), run, *ROWS[:3]).close(None)
    goes_on = make_run(tmp_path / "wb", LastSteps(train=2, held_out=2))
    report = report_some(WeightsAndBiases(), goes_on, *ROWS)
    report.close(RunEnd("done", "trained 4 steps"))
    assert getattr(report, "place").startswith("wandb sync ")  # noqa: B009  # optional, so it is not in the protocol
    records = read_records(run.folder)
    history = read_history(records)
    assert [(each["step"], each.get("loss"), each.get("eval_loss")) for each in history] == [
        (1, 1.0, None),
        (2, 0.5, 0.5),
        (3, 1 / 3, None),
        (4, 0.25, 0.25),
    ]
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert {(each.run_id, each.display_name, each.project) for each in runs} == {("01abcdef", "ipo-abcdef", "prefd")}
    summary = {
        item.key: item.value_json
        for record in records
        if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }
    assert (summary["state"], summary["reason"]) == ('"done"', '"trained 4 steps"')


KILLED = """
import sys, time
from pathlib import Path
from prefd.plugins.reporters.wandb import WeightsAndBiases
from support.fake_worker import wait_for
from support.reported_runs import make_run, report_some, row
report_some(WeightsAndBiases(), make_run(Path(sys.argv[1])), row(1), row(2), row(2, held_out=True), row(3))
time.sleep(600)
"""


@pytest.mark.thorough
def test_a_killed_run_is_readable_up_to_what_the_library_had_flushed(tmp_path: Path) -> None:
    """It flushes every ten seconds or so; what it held at the kill is lost to it, and the rest is whole."""
    command = [sys.executable, "-c", KILLED, str(tmp_path / "wb")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    with subprocess.Popen(command, env=environment) as process:
        try:
            wait_for(lambda: bool(read_history(read_records(tmp_path / "wb"))))
        finally:
            process.kill()
    history = read_history(read_records(tmp_path / "wb"))
    assert [each["step"] for each in history] == list(range(1, 1 + len(history)))
    assert history[0]["loss"] == 1.0
