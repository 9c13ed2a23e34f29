"""What a run of 100,000 steps costs to look at: in prefd's page, in trackio's and in TensorBoard's, one after the other in one browser.

    python benchmarks/bench_page.py [--steps 100000] [--rounds 3] [--peers VENV] [--arms prefd,trackio,tensorboard] [--markdown page.md]

Each tool is given the run in its own format and with its own defaults, and is opened in Debian's Chromium with an empty cache. What is
said of each is its median over the rounds, which go from tool to tool, so that what else the machine does meets all of them: the
ratio of the times is a number of the tools, the seconds are also one of the machine. A tool that is not installed in `--peers` is left out:

    python -m venv peers; peers/bin/pip install trackio==0.43 tensorboard==2.21
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "tests")]

from pages.opening import Opening, open_page
from pages.planted_run import METRICS, STEPS, make_series
from pages.tools import PREFD, Tool, list_tools
from playwright.sync_api import sync_playwright

from support.browser import FLAGS, find_chromium
from support.sockets import find_free_port

NOTES = (
    (
        "Drawn is the last change of the picture of the window, for all alike; requests and kB are those until then. What a page asks for "
        "afterwards to hear of news stands by itself: prefd keeps one stream open for it. It is counted for as long as the "
        "picture stands still, some seconds, so one request is a dozen a minute."
    ),
    (
        "The time is one of this machine, and of taking its picture, which costs most where a page animates as it "
        "loads, as TensorBoard's does. Its ratio to prefd's of the same round is what can be compared."
    ),
    (
        "Of prefd, the words in its loss card are told; of the others, what is among the points that their servers sent of the loss. trackio sends "
        "each 64th row and the last, TensorBoard a random sample of 1,000."
    ),
    "prefd draws the charts that are in view, of nine; trackio the first eight; TensorBoard two, and asks for the others as they come into view.",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, help="a virtual environment with trackio and tensorboard")
    parser.add_argument("--arms", default="prefd,trackio,tensorboard")
    parser.add_argument("--markdown", type=Path, help="write the table here too")
    options = parser.parse_args()
    series = make_series(options.steps)
    peers = options.peers and options.peers.absolute()  # its programs are run in folders of their own
    tools = [tool for tool in list_tools(peers) if tool.name in options.arms.split(",")]
    openings: dict[str, list[Opening]] = {tool.name: [] for tool in tools}
    with tempfile.TemporaryDirectory(prefix="prefd-bench-") as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(FLAGS))
        servers = {}
        for tool in tools:
            print(f"{tool.name}: writing the run", file=sys.stderr, flush=True)
            (Path(folder) / tool.name).mkdir()
            servers[tool.name] = tool.prepare(Path(folder) / tool.name, series, find_free_port())
        for number in range(options.rounds):
            for tool in tools:
                opening = open_page(browser, tool, servers[tool.name], options.steps)
                openings[tool.name].append(opening)
                print(f"round {number + 1}: {tool.name}: {opening}", file=sys.stderr, flush=True)
        browser.close()
    lines = describe(tools, openings, options.steps, find_versions(peers))
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


def describe(
    tools: Sequence[Tool], openings: Mapping[str, Sequence[Opening]], steps: int, versions: Mapping[str, str]
) -> list[str]:
    """Return the table, with each tool beside the first."""
    base = openings[tools[0].name]

    def middle(tool: Tool, name: str) -> float:
        return float(median(getattr(each, name) for each in openings[tool.name]))

    def ratio(tool: Tool) -> float:
        return float(median(each.drawn / first.drawn for each, first in zip(openings[tool.name], base, strict=True)))

    return [
        f"On {platform.system()} {platform.machine()}, {os.cpu_count()} cores: a run of {steps:,} steps and {len(METRICS)} metrics, medians of {len(base)} rounds.",
        "",
        f"| | kB | requests | drawn after, s | ÷ {tools[0].name} | then requests a minute | heap, MB | server, MB | the two spikes | the three steps that are not finite |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {tool.name} {versions[tool.name]} | {middle(tool, 'kilobytes'):,.0f} | {middle(tool, 'requests'):.0f} | {middle(tool, 'drawn'):.1f} "
            f"| {ratio(tool):.1f} | {middle(tool, 'polls'):.0f} | {middle(tool, 'heap'):.1f} | {middle(tool, 'resident'):.0f} "
            f"| {openings[tool.name][-1].told[0]} | {openings[tool.name][-1].told[1]} |"
            for tool in tools
        ),
        "",
        *(f"- {note}" for note in NOTES),
    ]


def find_versions(peers: Path | None) -> dict[str, str]:
    """Ask each tool for its version."""
    done = subprocess.run([*PREFD, "--version"], capture_output=True, text=True, check=True)
    versions = {"prefd": done.stdout.split()[-1]}
    for name in ("trackio", "tensorboard") if peers else ():
        program = f"from importlib.metadata import version; print(version({name!r}))"
        command = [str(peers / "bin" / "python"), "-c", program]  # type: ignore[operator]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        versions[name] = done.stdout.strip()
    return versions


if __name__ == "__main__":
    main()
