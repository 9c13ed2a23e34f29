"""Takes the pictures of the page that the documentation shows: real jobs of SmolLM2, in a headless Chromium.

Makes a home of its own with a few jobs over the demo's pairs, lets them train, and takes each screen of `prefd web` in light and
dark, on a desktop and on a phone. What the documentation shows is written to docs/pictures/; `--all FOLDER` writes every one.

    python contrib/pictures/pictures.py [--all FOLDER] [--home FOLDER] [--model FOLDER] [--iters N]
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
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
HOME = Path(tempfile.gettempdir()) / "prefd-pictures" / "home"
"""A fixed place: its path is in the pictures, and what was trained there is there still after an interruption."""
BROWSERS = (
    "/usr/bin/chromium",
    "/usr/bin/google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
COLORS = 256
"""Colours of a picture: a page has few, and its file is a third as large. The palette covers all that occur, so that a small mark keeps its own, and is
then moved to what is most frequent, so that a background has its very own."""
WAIT_MS = 90_000
DONE_SECONDS = 7200.0
NOT_RUNNING = 4
"""What a command exits with where there is no daemon."""

SPEC = """\
name: {name}
model: {model}
data: {{path: {pairs}, max_length: 160, validation: 0.15}}
loss: {loss}
training: {{lora: {{rank: 8}}, num_layers: 4, learning_rate: {rate}, batch_size: 2, iters: {iters}, steps_per_eval: {every}}}
{more}
"""


@dataclass(frozen=True)
class Job:
    """Job is a job of the home that the pictures show."""

    name: str
    loss: str
    length: float
    """Its steps, in those of the shortest jobs."""
    rate: float = 2e-4
    more: str = ""
    """Further settings, as lines of YAML."""


JOBS = (
    Job("sigmoid", "{name: sigmoid, beta: 0.1}", 4),
    Job("ipo", "{name: ipo, beta: 0.1}", 1),
    Job("dpop-10", "{name: dpop, beta: 0.1, delta: 10}", 1),
    Job("too-hot", "{name: sigmoid, beta: 0.5}", 1, rate=1e38),
    Job("simpo", "{name: simpo, beta: 2.0, gamma: 1.0}", 8),
    Job("beta", "{name: sigmoid}", 1, more="sweep: {loss.beta: [0.05, 0.2, 0.5]}"),
    Job("nightly-ipo", "{name: ipo, beta: 0.05}", 16, more="not_before: 2099-12-01 02:00+00:00"),
)
ENDED = ("sigmoid", "ipo", "dpop-10", "too-hot")
"""The jobs that the pictures wait for: three to compare, and one that fails. The next is handed in later, and runs while they are taken:
pairs are scored while no job is in memory."""


@dataclass(frozen=True)
class View:
    """View is one screen in a state worth showing."""

    name: str
    path: str
    ready: tuple[str, ...]
    """Selectors of what is there once the screen has drawn."""
    kept: tuple[str, ...] = ()
    """The variants that the documentation shows, such as `light` and `dark-phone`."""


def list_views(ids: Mapping[str, int], live: int | None) -> Sequence[View]:
    """List the screens; `ids` are the numbers of the jobs by their names, `live` is the one that runs."""
    run, compared = f"/jobs/{ids['sigmoid']}", ",".join(str(ids[name]) for name in ENDED[:3])
    form = f"/train?from={ids['sigmoid']}"
    views = [
        View("jobs", "/", (".job-row",), ("light", "dark-phone")),
        View("run", f"{run}/charts", (".charts canvas", ".tile"), ("light", "dark", "dark-phone")),
        View("pairs", f"{run}/pairs", (".pair-row",), ("light",)),
        View("data", f"{run}/data", (".facts",)),
        View("spec", f"{run}/spec", ("main pre",)),
        View("log", f"{run}/log", ("main pre",)),
        View("history", f"{run}/history", ("main table",)),
        View("failed", f"/jobs/{ids['too-hot']}/charts", (".notice",)),
        View("train", form, (".estimate", ".curve .line", ".cm-content"), ("light", "light-phone")),
        View("rows", f"{form}&tab=rows", (".estimate", ".curve .line", ".row"), ("dark",)),
        View("compare", f"/compare?ids={compared}", (".compare-table", ".charts canvas"), ("light",)),
        View("cache", "/cache", (".reference",), ("light",)),
        View("losses", "/losses/dpop", (".curve .line",), ("dark",)),
        View(
            "daemon", "/daemon", (".findings li",)
        ),  # its findings name the paths of the machine: not for the documentation
    ]
    return views if live is None else [*views, View("run-live", f"/jobs/{live}/charts", (".tile",))]


def main() -> int:
    """Takes the pictures, and says where they are."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the daemon and the page end with it
    options = read_arguments()
    if not (options.model / "config.json").exists():
        print(f"there is no model at {options.model}: run `make model`", file=sys.stderr)
        return 1
    home = options.home.resolve()
    options.model, options.pairs = place_inputs(home.parent, options.model)
    with running_daemon(home), running_page(home) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=ARGUMENTS)
        queue_jobs(home, options, JOBS[: len(ENDED)])
        score_pairs(home, wait_for_jobs(home)["sigmoid"])
        queue_jobs(home, options, JOBS[len(ENDED) :])
        live = wait_for_training(home)
        ids = {job["name"]: job["id"] for job in list_jobs(home)}
        for view in list_views(ids, live):
            for variant in ("light", "dark", "light-phone", "dark-phone"):
                if options.all is None and variant not in view.kept:
                    continue
                folder = options.all or DOCS
                folder.mkdir(parents=True, exist_ok=True)
                take_picture(browser, address, view, variant, folder / f"{view.name}-{variant}.png")
        browser.close()
    return 0


def read_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="write every screen in every variant there")
    parser.add_argument(
        "--home", type=Path, default=HOME, help="the home to make, or one that was begun before; default: %(default)s"
    )
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--iters", type=int, default=24, help="steps of the shortest jobs; default: %(default)s")
    return parser.parse_args()


def place_inputs(folder: Path, model: Path) -> tuple[Path, Path]:
    """Link the model and the pairs into `folder`, whose path is the one that pictures show; return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    places = folder / model.name, folder / PAIRS.name
    for place, source in zip(places, (model.resolve(), PAIRS), strict=True):
        if place.is_symlink():
            place.unlink()  # another checkout's, which may be gone
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
    for selector in view.ready:
        page.locator(selector).first.wait_for(timeout=WAIT_MS)
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
        image.convert("RGB").quantize(COLORS, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE).save(
            file, optimize=True
        )


def queue_jobs(home: Path, options: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Hand in those of the jobs that the home does not have yet."""
    names = {job["name"].removesuffix("-1") for job in list_jobs(home)}
    for job in jobs:
        if job.name in names:
            continue
        iters = round(options.iters * job.length)
        text = SPEC.format(
            name=job.name, model=json.dumps(str(options.model)), pairs=json.dumps(str(options.pairs)), loss=job.loss,
            rate=job.rate, iters=iters, every=max(1, iters // 8), more=job.more,
        )  # fmt: skip
        run_prefd(home, "submit", "-", stdin=text)


def wait_for_jobs(home: Path) -> dict[str, int]:
    """Wait until the jobs that the pictures show have ended; return the numbers of all by their names."""
    deadline = time.monotonic() + DONE_SECONDS
    while time.monotonic() < deadline:
        jobs = {job["name"]: job for job in list_jobs(home)}
        if all(jobs[name]["state"] in ("done", "failed") for name in ENDED):
            return {name: job["id"] for name, job in jobs.items()}
        time.sleep(2)
    raise SystemExit(f"the jobs did not end in {DONE_SECONDS / 3600:.0f} hours")


def wait_for_training(home: Path) -> int | None:
    """Wait until a job trains, and return its number; None where none is left that could."""
    while True:
        states = {job["state"]: job["id"] for job in list_jobs(home) if job["name"] != "nightly-ipo"}
        if "training" in states or not {"queued", "precomputing"} & set(states):
            return states.get("training")
        time.sleep(1)


def list_jobs(home: Path) -> list[dict[str, Any]]:
    """List the jobs of the home, as `prefd jobs --json` has them."""
    listed: list[dict[str, Any]] = json.loads(run_prefd(home, "jobs", "--json"))["jobs"]
    return listed


def score_pairs(home: Path, job: int) -> None:
    """Have the pairs of a job scored, which its page shows."""
    run_prefd(home, "pairs", str(job), "--json")


@contextmanager
def running_daemon(home: Path) -> Iterator[None]:
    """Run a daemon with a home of its own; one that runs there already is left running."""
    run_prefd(home, "init")
    runs = json.loads(run_prefd(home, "status", "--json", codes=(0, NOT_RUNNING)))["running"]
    if not runs:
        run_prefd(home, "start", "--detach")
    try:
        yield
    finally:
        if not runs:
            run_prefd(home, "stop")


@contextmanager
def running_page(home: Path) -> Iterator[str]:
    """Run `prefd web` beside the daemon, and yield the address that it prints."""
    command = [sys.executable, "-m", "prefd.daemon.cli", "--home", str(home), "web", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            if not address:
                raise SystemExit("`prefd web` did not start; it says above why")
            yield address
        finally:
            process.terminate()


def run_prefd(home: Path, *arguments: str, stdin: str | None = None, codes: Sequence[int] = (0,)) -> str:
    """Run a command, and return what it prints. Raises SystemExit where it exits with none of `codes`."""
    command = [sys.executable, "-m", "prefd.daemon.cli", "--home", str(home), *arguments]
    result: Any = subprocess.run(command, check=False, input=stdin, capture_output=True, text=True)
    if result.returncode not in codes:
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
