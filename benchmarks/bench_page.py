"""What a run of 100,000 steps costs to look at: in prefd's page, in trackio's and in TensorBoard's, one after the other in one browser.

    python benchmarks/bench_page.py [--steps 100000] [--rounds 3] [--peers VENV] [--arms prefd,trackio,tensorboard] [--markdown page.md]

Nine metrics are logged for each step, with two spikes and three steps that are not finite in the loss. Each tool is given the run
in its own format and with its own defaults, and is opened in Debian's Chromium with an empty cache. Told are medians over the rounds, which
go from tool to tool, so that what else the machine does meets all of them. An arm that is not installed in `--peers` is left out:

    python -m venv peers; peers/bin/pip install trackio==0.43 tensorboard==2.21
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import psutil
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import sync_playwright

from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_record import read_page_record
from support import homes
from support.browser import DESKTOP, FLAGS, find_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Response

SPIKES = {42_917: 9.5, 71_003: 6.25}
NOT_FINITE = (60_000, 60_001, 60_002)
METRICS = (
    "loss",
    "rewards/accuracies",
    "rewards/margins",
    "rewards/chosen",
    "rewards/rejected",
    "logps/chosen",
    "logps/rejected",
    "grad_norm",
    "learning_rate",
)
PREFD = (sys.executable, "-P", "-m", "prefd.daemon.cli")
QUIET_SECONDS = 1.5
"""A page that has asked nothing and drawn nothing for so long is drawn."""
PATIENCE_SECONDS = 120.0
Series = Mapping[str, list[float]]
NOTES = (
    "Of prefd, the words in its loss card are told; of the others, whether the values are in the JSON that the page was sent of the loss.",
    "trackio asks again each second, and so long as it does it counts as not drawn yet: its requests, kB and time grow with how busy the machine is.",
    "TensorBoard draws the two of nine charts that are in view and asks for the others as they come into view.",
)


@dataclass
class Sample:
    """Sample is one opening of a tool's page."""

    kilobytes: float
    requests: int
    drawn: float
    """Seconds from the address to the last change of what is seen."""
    heap: float
    """MB that its scripts hold, after a collection."""
    resident: float
    """MB of the server."""


@dataclass
class Arm:
    """Arm is one tool: how its server is started, and where its page shows the run."""

    name: str
    start: Callable[[Path, Series, int], tuple[list[str], str, dict[str, str]]]
    """Writes the run into a folder, and returns the server's command, the page's address and its environment."""
    ready: str
    """A selector that is there when the charts are."""
    shows: Callable[[Page, Sequence[str]], tuple[str, str]]
    """What the page tells of the spikes, and of what is not finite; it is given what the server has sent too."""
    samples: list[Sample] = field(default_factory=list)
    told: tuple[str, str] = ("", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, help="a virtual environment with trackio and tensorboard")
    parser.add_argument("--arms", default="prefd,trackio,tensorboard")
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    given = parser.parse_args()
    series = make_series(given.steps)
    arms = [arm for arm in list_arms(given.peers) if arm.name in given.arms.split(",")]
    with tempfile.TemporaryDirectory(prefix="prefd-bench-") as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        servers = [(arm, Path(folder) / arm.name) for arm in arms]
        prepared = []
        for arm, place in servers:
            place.mkdir()
            tell(f"{arm.name}: writing the run")
            prepared.append((arm, *arm.start(place, series, find_port())))
        for number in range(given.rounds):
            for arm, command, address, environment in prepared:
                tell(f"round {number + 1}: {arm.name}")
                measure(browser, arm, command, address, environment)
        browser.close()
    lines = describe(arms, given.steps, given.rounds, versions(given.peers))
    print("\n".join(lines))
    if given.markdown:
        given.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_series(steps: int) -> Series:
    """Nine metrics that fall, rise and tremble as those of a run; the loss with its spikes and what is not finite."""
    noise = random.Random(0)
    series: dict[str, list[float]] = {
        name: [1 / (1 + number + step / steps) + noise.gauss(0, 0.01) for step in range(1, steps + 1)]
        for number, name in enumerate(METRICS)
    }
    scale = steps / 100_000
    for step, value in SPIKES.items():
        series["loss"][int(step * scale) - 1] = value
    for step in NOT_FINITE:
        series["loss"][int(step * scale) - 1] = float("nan")
    return series


def list_arms(peers: Path | None) -> Iterator[Arm]:
    """List the tools that can be started here."""
    yield Arm("prefd", start_prefd, ".u-over canvas, .plot canvas", read_prefd)
    if peers is not None and (peers / "bin" / "trackio").exists():
        python = str(peers / "bin" / "python")
        yield Arm(
            "trackio",
            lambda *given: start_trackio(python, *given),
            "svg.marks, canvas.marks, .vega-embed canvas",
            read_trackio,
        )
    if peers is not None and (peers / "bin" / "tensorboard").exists():
        python = str(peers / "bin" / "python")
        yield Arm(
            "tensorboard",
            lambda *given: start_tensorboard(python, *given),
            "scalar-card canvas, scalar-card svg.series-view",
            read_tensorboard,
        )


def start_prefd(folder: Path, series: Series, port: int) -> tuple[list[str], str, dict[str, str]]:
    """A home with the run as a job of it, and `prefd web`."""
    home = Home(folder / "home")
    job = homes.add_done(home, name="long")
    with homes.run_folder(home, job).metrics.open("w", encoding="utf-8") as file:
        for index, values in enumerate(zip(*series.values(), strict=True), 1):
            row = dict(zip(series, (None if math.isnan(value) else round(value, 6) for value in values), strict=True))
            file.write(json.dumps({"step": index, **row}) + "\n")
    return (
        [*PREFD, "--home", str(home.root), "web", "--port", str(port)],
        f"http://127.0.0.1:{port}/jobs/{job.id}/charts",
        {"HOME_OF_PREFD": str(home.root)},
    )


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
import json, sys, time
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


def start_trackio(python: str, folder: Path, series: Series, port: int) -> tuple[list[str], str, dict[str, str]]:
    """A project of trackio with the run, and its dashboard."""
    environment = {
        "TRACKIO_DIR": str(folder / "trackio"),
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
    }
    write_by(python, PROGRAM_TRACKIO, folder, series, environment)
    show = f"import trackio, time; trackio.show(project='bench', open_browser=False, block_thread=False, server_port={port}); time.sleep(1e6)"
    return [python, "-c", show], f"http://127.0.0.1:{port}/?project=bench", environment


def start_tensorboard(python: str, folder: Path, series: Series, port: int) -> tuple[list[str], str, dict[str, str]]:
    """A log folder of TensorBoard with the run, and TensorBoard."""
    write_by(python, PROGRAM_TENSORBOARD, folder, series, {})
    command = [
        python,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(folder / "logs"),
        "--port",
        str(port),
        "--load_fast",
        "false",
    ]
    return command, f"http://127.0.0.1:{port}/?darkMode=false#timeseries", {}


def write_by(python: str, program: str, folder: Path, series: Series, environment: Mapping[str, str]) -> None:
    """Have a tool's own library write the run."""
    (folder / "series.json").write_text(json.dumps(series))
    arguments = [python, "-c", program, str(folder / "series.json"), str(folder / "logs")]
    subprocess.run(
        arguments,
        check=True,
        env=os.environ | environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@contextmanager
def serving(command: list[str], address: str, environment: Mapping[str, str]) -> Iterator[psutil.Process]:
    """The tool's server, once it answers."""
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment)
        try:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not answers(address):
                if child.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"{' '.join(command)[:200]} does not answer: {log.read().decode()[-2000:]}")
                time.sleep(0.2)
            yield psutil.Process(child.pid)
        finally:
            child.terminate()
            with suppress(subprocess.TimeoutExpired):
                child.wait(10)
            child.kill()
            child.wait()


def answers(address: str) -> bool:
    """Say whether a server answers there, whatever."""
    try:
        urllib.request.urlopen(address, timeout=5).read(1)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def measure(browser: Browser, arm: Arm, command: list[str], address: str, environment: Mapping[str, str]) -> None:
    """Open the tool's page once, with a server of its own and an empty cache."""
    with serving(command, address, environment) as server:
        time.sleep(10 if arm.name == "tensorboard" else 1)  # TensorBoard reads the run before it shows it
        context = browser.new_context(viewport=DESKTOP)  # type: ignore[arg-type]
        page = context.new_page()
        record = read_page_record(Home(Path(environment["HOME_OF_PREFD"]))) if arm.name == "prefd" else None
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        received: list[float] = []
        asked: list[str] = []
        session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
        session.on("Network.requestWillBeSent", lambda event: asked.append(event["request"]["url"]))
        sent: list[Response] = []
        page.on("response", lambda response: sent.append(response))
        page.add_init_script(WATCH)
        began = time.monotonic()
        page.goto(address + (f"#token={record.token}" if record else ""))
        page.locator(arm.ready).first.wait_for(timeout=1000 * PATIENCE_SECONDS, state="attached")
        drawn = wait_until_quiet(page, began, received)
        session.send("HeapProfiler.collectGarbage")
        heap = session.send("Runtime.getHeapUsage")["usedSize"] / 1e6
        resident = sum(each.memory_info().rss for each in [server, *server.children(recursive=True)]) / 1e6
        arm.samples.append(
            Sample(sum(received) / 1e3, len([url for url in asked if url.startswith("http")]), drawn, heap, resident)
        )
        arm.told = arm.shows(page, [read_body(each) for each in sent])
        context.close()


def read_body(response: Response) -> str:
    """The text of an answer that is data; empty for any other."""
    with suppress(PlaywrightError):
        return response.text() if "json" in response.headers.get("content-type", "") else ""
    return ""


WATCH = """
window.lastChange = 0;
for (const name of ['stroke', 'fill', 'drawArrays', 'drawElements', 'fillText'])
  for (const kind of [window.CanvasRenderingContext2D, window.WebGLRenderingContext, window.WebGL2RenderingContext]) {
    const before = kind?.prototype?.[name];
    if (before) kind.prototype[name] = function (...all) { window.lastChange = performance.now(); return before.apply(this, all); };
  }
document.addEventListener('DOMContentLoaded', () =>
  new MutationObserver(() => (window.lastChange = performance.now())).observe(document.body, {childList: true, subtree: true}));
"""


def wait_until_quiet(page: Page, began: float, received: list[float]) -> float:
    """Seconds until the last answer was there and the last stroke was drawn."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    last, seen = time.monotonic(), -1
    while time.monotonic() < deadline:
        page.wait_for_timeout(100)
        idle = float(page.evaluate("performance.now() - window.lastChange")) / 1000
        if len(received) != seen:
            seen, last = len(received), time.monotonic()
        if min(time.monotonic() - last, idle) > QUIET_SECONDS:
            return time.monotonic() - began - min(time.monotonic() - last, idle)
    return PATIENCE_SECONDS


def read_prefd(page: Page, texts: Sequence[str]) -> tuple[str, str]:
    """What the loss card says of both."""
    notes = page.locator(".chart-notes")
    amber, bad = notes.locator(".amber").first, notes.locator(".bad").first
    return (amber.inner_text() if amber.count() else "no", bad.inner_text() if bad.count() else "no")


def find_in(answers: str) -> tuple[str, str]:
    """What the numbers that the page was sent of the loss hold; these tools tell of neither in words."""
    spikes = [value for value in SPIKES.values() if str(value) in answers]
    return (
        f"{len(spikes)} of 2 among what is sent" + (", as any other point" if spikes else ""),
        "sent as NaN, drawn as nothing" if "NaN" in answers else "not sent",
    )


def read_trackio(page: Page, texts: Sequence[str]) -> tuple[str, str]:
    """What the page was sent, which draws the loss among its first charts."""
    return find_in("".join(texts))


def read_tensorboard(page: Page, texts: Sequence[str]) -> tuple[str, str]:
    """What the server sends of the loss where the page asks for that card, which lies further down."""
    return find_in(
        str(page.evaluate("fetch('data/plugin/scalars/scalars?tag=loss&run=.').then((answer) => answer.text())"))
    )


def versions(peers: Path | None) -> dict[str, str]:
    """The versions of the tools."""
    found = {
        "prefd": subprocess.run([*PREFD, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    }
    if peers is not None:
        for name in ("trackio", "tensorboard"):
            program = f"from importlib.metadata import version; print(version({name!r}))"
            done = subprocess.run(
                [str(peers / "bin" / "python"), "-c", program], capture_output=True, text=True, check=False
            )
            found[name] = done.stdout.strip()
    return found


def describe(arms: list[Arm], steps: int, rounds: int, found: Mapping[str, Any]) -> list[str]:
    """The table, with each tool beside prefd."""
    base: float = median(each.drawn for each in arms[0].samples)

    def middle(arm: Arm, name: str) -> float:
        return float(median(getattr(each, name) for each in arm.samples))

    return [
        f"On {platform.system()} {platform.machine()}, {os.cpu_count()} cores: a run of {steps:,} steps and {len(METRICS)} metrics, medians of {rounds} rounds.",
        "",
        "| | kB | requests | drawn after, s | ÷ prefd | heap, MB | server, MB | the two spikes | the three steps that are not finite |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {arm.name} {found[arm.name]} | {middle(arm, 'kilobytes'):,.0f} | {middle(arm, 'requests'):.0f} | {middle(arm, 'drawn'):.1f} "
            f"| {middle(arm, 'drawn') / base:.1f} | {middle(arm, 'heap'):.1f} | {middle(arm, 'resident'):.0f} | {arm.told[0]} | {arm.told[1]} |"
            for arm in arms
        ),
        "",
        *NOTES,
    ]


def find_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
