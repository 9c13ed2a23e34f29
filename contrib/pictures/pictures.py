"""Takes the pictures of the page that the documentation shows: real jobs of SmolLM2, in a headless Chromium.

Makes a home of its own with a few jobs over the demo's pairs, lets them train, and takes each screen of `prefd web` in light and
dark, on a desktop and on a phone. What the documentation shows is written to docs/pictures/; `--all FOLDER` writes every one.

    python contrib/pictures/pictures.py [--all FOLDER] [--home FOLDER] [--model FOLDER] [--iters N]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / ".models" / "SmolLM2-135M-Instruct"
PAIRS = ROOT / "contrib" / "demo" / "pairs.jsonl"
DOCS = ROOT / "docs" / "pictures"
BROWSERS = (
    "/usr/bin/chromium",
    "/usr/bin/google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
COLORS = 200
"""Colours of a picture: a page has few, and its file is a third as large."""
WAIT_MS = 20_000
DONE_SECONDS = 3600.0

SPEC = """\
name: {name}
model: {model}
data: {{path: {pairs}, max_length: 160, validation: 0.15}}
loss: {loss}
training: {{lora: {{rank: 8}}, learning_rate: {rate}, batch_size: 4, iters: {iters}, steps_per_eval: {every}}}
"""
JOBS = (
    ("sigmoid", "{name: sigmoid, beta: 0.1}", 5e-5, 1),
    ("ipo", "{name: ipo, beta: 0.1}", 5e-5, 1),
    ("dpop-10", "{name: dpop, beta: 0.1, delta: 10}", 5e-5, 1),
    ("simpo", "{name: simpo, beta: 2.0, gamma: 1.0}", 5e-5, 1),
    ("too-hot", "{name: sigmoid, beta: 0.5}", 2e-3, 1),
)
LIVE = ("sigmoid-longer", "{name: sigmoid, beta: 0.1, label_smoothing: 0.1}", 5e-5, 20)
"""The job that still runs while the pictures are taken; the last number multiplies its steps."""


@dataclass(frozen=True)
class View:
    """View is one screen in a state worth showing."""

    name: str
    path: str
    ready: str
    """A selector of what is there once the screen has drawn."""
    kept: tuple[str, ...] = ()
    """The variants that the documentation shows, such as `light` and `dark-phone`."""
    click: str | None = None


def list_views(live: int) -> Sequence[View]:
    """List the screens; `live` is the job that runs."""
    return [
        View("jobs", "/", ".list-tools", ("light",)),
        View("run-live", f"/jobs/{live}/charts", ".charts canvas"),
        View("run", "/jobs/1/charts", ".charts canvas", ("light", "dark-phone")),
        View("pairs", "/jobs/1/pairs", "main .card", ("light",)),
        View("data", "/jobs/1/data", ".facts"),
        View("spec", "/jobs/1/spec", "main pre"),
        View("log", "/jobs/1/log", "main"),
        View("history", "/jobs/1/history", "main table"),
        View("train", "/train?from=1", ".estimate", ("light",)),
        View("rows", "/train?from=1&tab=rows", ".row", ("dark",)),
        View("compare", "/compare?ids=1,2,3", ".charts canvas", ("light",)),
        View("cache", "/cache", ".reference"),
        View("losses", "/losses/dpop", ".curve .line"),
        View("daemon", "/daemon", ".findings"),
    ]


def main() -> int:
    """Takes the pictures, and says where they are."""
    given = read_arguments()
    if not (given.model / "config.json").exists():
        print(f"there is no model at {given.model}: run `make model`", file=sys.stderr)
        return 1
    home = (given.home or Path(tempfile.mkdtemp(prefix="prefd-pictures-"), "home")).resolve()
    given.model, given.pairs = place_inputs(home.parent, given.model)
    with running_daemon(home), running_page(home) as address, sync_playwright() as playwright:
        live = queue_jobs(home, given)
        browser = playwright.chromium.launch(executable_path=find_browser(), args=ARGUMENTS)
        score_pairs(home, 1)
        for view in list_views(live):
            for variant in ("light", "dark", "light-phone", "dark-phone"):
                if given.all is None and variant not in view.kept:
                    continue
                folder = given.all or DOCS
                folder.mkdir(parents=True, exist_ok=True)
                take_picture(browser, address, view, variant, folder / f"{view.name}-{variant}.png")
        browser.close()
    return 0


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="write every screen in every variant there")
    parser.add_argument("--home", type=Path, help="the home to make; default: a temporary one")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--iters", type=int, default=40, help="steps of each job")
    return parser.parse_args()


def place_inputs(folder: Path, model: Path) -> tuple[Path, Path]:
    """Link the model and the pairs into `folder`, whose path is the one that pictures show; return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    places = folder / model.name, folder / PAIRS.name
    for place, source in zip(places, (model.resolve(), PAIRS), strict=True):
        if not place.exists():
            place.symlink_to(source)
    return places


def take_picture(browser: Browser, address: str, view: View, variant: str, file: Path) -> None:
    """Open a screen as its reader would, wait until it has drawn, and write its picture."""
    theme, _, size = variant.partition("-")
    is_phone = size == "phone"
    context = browser.new_context(
        viewport={"width": 390, "height": 844} if is_phone else {"width": 1440, "height": 900},
        device_scale_factor=2 if is_phone else 1,
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
        has_touch=is_phone,
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(".top")
    page.goto(address.partition("#")[0].rstrip("/") + view.path)
    page.locator(view.ready).first.wait_for(timeout=WAIT_MS)
    if view.click:
        page.click(view.click)
    settle(page)
    page.screenshot(path=file)
    shrink(file)
    print(f"{file}  {file.stat().st_size // 1000} kB")
    context.close()


def settle(page: Page) -> None:
    """Wait until what was asked for has come and is drawn; a stream that stays open is no request to wait for."""
    page.wait_for_timeout(1500)


def shrink(file: Path) -> None:
    """Write a picture with few colours in place of one with all."""
    with Image.open(file) as image:
        image.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(file, optimize=True)


def queue_jobs(home: Path, given: argparse.Namespace) -> int:
    """Hand in the jobs and wait until all but the last have ended; return the number of the one that runs."""
    for name, loss, rate, times in (*JOBS, LIVE):
        text = SPEC.format(
            name=name, model=json.dumps(str(given.model)), pairs=json.dumps(str(given.pairs)), loss=loss, rate=rate,
            iters=given.iters * times, every=max(1, given.iters // 4),
        )  # fmt: skip
        run_prefd(home, "submit", "-", stdin=text)
    deadline = time.monotonic() + DONE_SECONDS
    while time.monotonic() < deadline:
        jobs = {job["id"]: job["state"] for job in json.loads(run_prefd(home, "jobs", "--json"))["jobs"]}
        if all(jobs[each] in ("done", "failed") for each in range(1, len(JOBS) + 1)):
            return len(JOBS) + 1
        time.sleep(2)
    raise SystemExit("the jobs did not end in an hour")


def score_pairs(home: Path, job: int) -> None:
    """Have the pairs of a job scored, which its page shows."""
    run_prefd(home, "pairs", str(job), "--json")


@contextmanager
def running_daemon(home: Path) -> Iterator[None]:
    """Run a daemon with a home of its own."""
    run_prefd(home, "init")
    run_prefd(home, "start", "--detach")
    try:
        yield
    finally:
        run_prefd(home, "stop")


@contextmanager
def running_page(home: Path) -> Iterator[str]:
    """Run `prefd web` beside the daemon, and yield the address that it prints."""
    command = [sys.executable, "-m", "prefd.daemon.cli", "--home", str(home), "web", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def run_prefd(home: Path, *arguments: str, stdin: str | None = None) -> str:
    """Run a command, and return what it prints. Raises SystemExit where it fails."""
    command = [sys.executable, "-m", "prefd.daemon.cli", "--home", str(home), *arguments]
    result: Any = subprocess.run(command, check=False, input=stdin, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{' '.join(arguments)}: {result.stderr.strip()}")
    return str(result.stdout)


def find_browser() -> str:
    """Find a Chromium. Raises SystemExit where there is none."""
    for each in BROWSERS:
        if Path(each).exists():
            return each
    raise SystemExit("no Chromium: apt-get install chromium")


if __name__ == "__main__":
    sys.exit(main())
