"""The tools: how each is given the run in its own format, how its server is started, and what its page tells of what was planted."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pages import sent_points
from pages.planted_run import Series
from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_record import read_page_record
from support import homes

if TYPE_CHECKING:
    from playwright.sync_api import Page

PREFD = (sys.executable, "-P", "-m", "prefd.daemon.cli")


@dataclass(frozen=True)
class Server:
    """Server is how one tool's page is served: by which command, and where."""

    command: Sequence[str]
    address: str
    environment: Mapping[str, str]
    home: Home | None = None
    """The home of prefd, whose record has the token that its page wants."""

    def find_address(self) -> str:
        """Return the address to open, once the server answers."""
        record = read_page_record(self.home) if self.home else None
        return f"{self.address}#token={record.token}" if record else self.address


@dataclass(frozen=True)
class Tool:
    """Tool is one arm of the comparison."""

    name: str
    prepare: Callable[[Path, Series, int], Server]
    """Writes the run into a folder; the last argument is a port."""
    ready: str
    """A selector that is there when the charts are."""
    describe: Callable[[Page, Sequence[str], int], tuple[str, str]]
    """What the page tells of the spikes and of what is not finite; given the JSON that it was sent, and the number of steps."""
    reads_first: float = 1.0
    """Seconds that the server is left alone before its page is opened: TensorBoard reads the run meanwhile."""


def list_tools(peers: Path | None) -> Iterator[Tool]:
    """List prefd, and what is installed in `peers`."""
    yield Tool("prefd", prepare_prefd, ".u-over canvas, .plot canvas", describe_prefd)
    if peers is None:
        return
    python = str(peers / "bin" / "python")
    if (peers / "bin" / "trackio").exists():
        selector = "svg.marks, canvas.marks, .vega-embed canvas"
        yield Tool("trackio", lambda *arguments: prepare_trackio(python, *arguments), selector, describe_trackio)
    if (peers / "bin" / "tensorboard").exists():
        selector = "scalar-card canvas, scalar-card svg.series-view"
        yield Tool(
            "tensorboard",
            lambda *arguments: prepare_tensorboard(python, *arguments),
            selector,
            describe_tensorboard,
            10.0,
        )


def prepare_prefd(folder: Path, series: Series, port: int) -> Server:
    """Make a home with the run as a job of it."""
    home = Home(folder / "home")
    job = homes.add_done(home, name="long")
    with homes.run_folder(home, job).metrics.open("w", encoding="utf-8") as file:
        for index, values in enumerate(zip(*series.values(), strict=True), 1):
            row = dict(zip(series, (None if math.isnan(value) else round(value, 6) for value in values), strict=True))
            file.write(json.dumps({"step": index, **row}) + "\n")
    command = [*PREFD, "--home", str(home.root), "web", "--port", str(port)]
    return Server(command, f"http://127.0.0.1:{port}/jobs/{job.id}/charts", {}, home)


PROGRAM_TRACKIO = """
import json, sys
import trackio
series = json.load(open(sys.argv[1]))
run = trackio.init(project="bench", name="long", embed=False)
names = list(series)
for index, values in enumerate(zip(*series.values()), 1):
    trackio.log(dict(zip(names, values)), step=index)
trackio.finish()
"""

PROGRAM_TENSORBOARD = """
import json, sys
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
series = json.load(open(sys.argv[1]))
writer = EventFileWriter(sys.argv[2], max_queue_size=10000, flush_secs=600)
names = list(series)
for index, values in enumerate(zip(*series.values()), 1):
    summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in zip(names, values)])
    writer.add_event(Event(wall_time=1.7e9 + index, step=index, summary=summary))
writer.close()
"""


def prepare_trackio(python: str, folder: Path, series: Series, port: int) -> Server:
    """Make a project of trackio with the run."""
    environment = {
        "TRACKIO_DIR": str(folder / "trackio"),
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
    }
    write_by(python, PROGRAM_TRACKIO, folder, series, environment)
    show = f"import trackio, time; trackio.show(project='bench', open_browser=False, block_thread=False, server_port={port}); time.sleep(1e6)"
    return Server([python, "-c", show], f"http://127.0.0.1:{port}/?project=bench", environment)


def prepare_tensorboard(python: str, folder: Path, series: Series, port: int) -> Server:
    """Make a log folder of TensorBoard with the run."""
    write_by(python, PROGRAM_TENSORBOARD, folder, series, {})
    arguments = ["--logdir", str(folder / "logs"), "--port", str(port), "--load_fast", "false"]
    command = [python, "-m", "tensorboard.main", *arguments]
    return Server(command, f"http://127.0.0.1:{port}/?darkMode=false#timeseries", {})


def write_by(python: str, program: str, folder: Path, series: Series, environment: Mapping[str, str]) -> None:
    """Have a tool's own library write the run."""
    (folder / "series.json").write_text(json.dumps(series))
    arguments = [python, "-c", program, str(folder / "series.json"), str(folder / "logs")]
    quiet = subprocess.DEVNULL
    subprocess.run(arguments, check=True, env=os.environ | environment, cwd=folder, stdout=quiet, stderr=quiet)


def describe_prefd(page: Page, answers: Sequence[str], steps: int) -> tuple[str, str]:
    """Return what the loss card says of both, in words."""
    notes = page.locator(".chart-notes")
    amber, bad = notes.locator(".amber").first, notes.locator(".bad").first
    return (amber.inner_text() if amber.count() else "no", bad.inner_text() if bad.count() else "no")


def describe_trackio(page: Page, answers: Sequence[str], steps: int) -> tuple[str, str]:
    """Say what is among the points that the page was sent, with which it draws the loss among its first charts."""
    points = sent_points.read_trackio(answers)
    return sent_points.describe_spikes(points, steps), sent_points.describe_not_finite(points, steps)


def describe_tensorboard(page: Page, answers: Sequence[str], steps: int) -> tuple[str, str]:
    """Say what the server sends for the loss's card, which lies further down and is asked for as it comes into view."""
    ask = "fetch('data/plugin/scalars/scalars?tag=loss&run=.').then((answer) => answer.text())"
    points = sent_points.read_tensorboard([str(page.evaluate(ask))])
    return sent_points.describe_spikes(points, steps), sent_points.describe_not_finite(points, steps)
