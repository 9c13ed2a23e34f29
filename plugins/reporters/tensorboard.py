"""Reports to TensorBoard: event files in the job's folder, written without TensorFlow or PyTorch."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from prefd.plugins.reporting import LastSteps, MetricsRow, ReportedRun, RunEnd, RunReporter


class TensorBoard:
    """TensorBoard: event files in the job's folder.

    `tensorboard --logdir <home>/runs` shows all jobs beside each other. The spec and the end of the job are texts.
    """

    library: ClassVar[str] = "tensorboard"
    install: ClassVar[str] = "prefd[tensorboard]"

    def open(self, run: ReportedRun) -> TensorBoardReport:
        """Begins another event file; of several in a folder TensorBoard makes one run."""
        last = find_last_steps(run.folder)
        report = TensorBoardReport(run, last)
        if not any(last):
            report.write_text("spec", f"```json\n{json.dumps(run.spec, indent=2, default=str)}\n```", 0)
        return report


class TensorBoardReport:
    """TensorBoardReport is an event file that is being written."""

    def __init__(self, run: ReportedRun, last: LastSteps) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(run.folder), flush_secs=5)
        self._last = last
        self.place = f"tensorboard --logdir {run.folder}"

    def last_steps(self) -> LastSteps:
        """Returns the last steps that the folder's event files have."""
        return self._last

    def log(self, row: MetricsRow) -> None:
        """Writes each metric of the row as a scalar, at the time at which the row was written."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.metrics.items()]
        self._write(Summary(value=values), row.step, row.time)
        self._last = self._last.after(row)

    def write_text(self, tag: str, text: str, step: int) -> None:
        """Writes a text, in Markdown."""
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.text.metadata import create_summary_metadata
        from tensorboard.util.tensor_util import make_tensor_proto

        metadata = create_summary_metadata(display_name="", description="")
        value = Summary.Value(tag=tag, metadata=metadata, tensor=make_tensor_proto([text]))
        self._write(Summary(value=[value]), step, None)

    def _write(self, summary: Any, step: int, wall_time: float | None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(
            Event(wall_time=time.time() if wall_time is None else wall_time, step=step, summary=summary)
        )

    def close(self, end: RunEnd | None) -> None:
        """Closes the event file; the end of the job is a text behind the last step."""
        if end is not None:
            self.write_text("end", f"{end.state}: {end.reason}".removesuffix(": "), max(self._last))
        self._writer.close()


def find_last_steps(folder: Path) -> LastSteps:
    """Finds the last steps in the event files of `folder`; what a killed process has cut counts as not written."""
    last = LastSteps()
    for event in _read_events(folder):
        names = [value.tag for value in event.summary.value if value.HasField("simple_value") or _is_scalar(value)]
        if names:
            last = last.after(MetricsRow(event.step, dict.fromkeys(names, 0.0)))
    return last


def _is_scalar(value: Any) -> bool:
    """Says whether the loader has made a tensor of what was written as a scalar: it does."""
    return bool(value.metadata.plugin_data.plugin_name == "scalars")


def _read_events(folder: Path) -> Iterator[Any]:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    for path in sorted(folder.glob("events.out.tfevents.*")):
        yield from EventFileLoader(str(path)).Load()


REPORTERS: dict[str, RunReporter] = {"tensorboard": TensorBoard()}
