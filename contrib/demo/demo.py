"""The whole of prefd on a small real model: two jobs over the same pairs, the second with nothing left to score.

Does what a user would, through the same commands: starts a daemon in a home of its own, drops two spec files into
`jobs/`, follows both to the end, stops the daemon, and shows what each job did and one answer before and after.

    python contrib/demo/demo.py [--home FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / ".models" / "SmolLM2-135M-Instruct"
PAIRS = Path(__file__).with_name("pairs.jsonl")
PROMPT = "What is the meaning of the word frugal?"
CLAIM_SECONDS = 30.0

SPEC = """\
# {name}: dropped into jobs/ by the demo
model: {model}
data:
  path: {pairs}
  max_length: 256
  validation: 0.1
loss: {loss}
training:
  lora: {{rank: 8, scale: 20.0}}
  learning_rate: 5e-5
  batch_size: 4
  iters: {iters}
"""
LOSSES = {"sigmoid": "{name: sigmoid, beta: 0.1}", "ipo": "{name: ipo, beta: 0.1}"}

# `python -m mlx_lm generate` as it stands, after the BLAS that makes it fast on a Linux CPU.
GENERATE = """\
import runpy, sys
from prefd.daemon.machine import blas
blas.preload()
sys.argv[:1] = ["mlx_lm", "generate"]
runpy.run_module("mlx_lm", run_name="__main__")
"""

console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


class DemoFailed(Exception):
    """Why the demo ends early, for the person who runs it."""


def main() -> int:
    options = arguments()
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the daemon is stopped then too
    try:
        if not (options.model / "config.json").exists():
            raise DemoFailed(f"there is no model at {options.model}: run `make model`")
        home = (options.home or Path(tempfile.mkdtemp(prefix="prefd-demo-"))).resolve()
        console.print(f"home: {home}")
        jobs = run_jobs(Prefd(home), options)
        console.print()
        console.print(comparison(jobs))
        show_answers(options, jobs)
        console.print(f"\nEverything is kept in {home}: try `prefd --home {home} jobs`.")
        console.print(f"The demo took {time.monotonic() - started:.0f} s.")
    except DemoFailed as failure:
        print(f"the demo failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--home", type=Path, help="where prefd keeps its files (default: a new temporary folder)")
    parser.add_argument("--model", type=Path, default=MODEL, help="an mlx-lm model folder (default: %(default)s)")
    parser.add_argument("--pairs", type=Path, default=PAIRS, help="preference pairs (default: %(default)s)")
    parser.add_argument("--iters", type=int, default=16, help="optimizer steps of each job (default: %(default)s)")
    parser.add_argument("--prompt", default=PROMPT, help="what is asked before and after (default: %(default)s)")
    return parser.parse_args()


@dataclass(frozen=True)
class Prefd:
    """The `prefd` command of this environment, on one home."""

    home: Path

    def command(self, *words: str) -> list[str]:
        return [str(Path(sys.executable).with_name("prefd")), "--home", str(self.home), *words]

    def run(self, *words: str) -> int:
        """Run it in sight, and return its exit code."""
        console.print(f"\n$ prefd {shlex.join(words)}", style="bold")
        return subprocess.run(self.command(*words), stdin=subprocess.DEVNULL, check=False).returncode

    def read(self, *words: str) -> Any:
        """The JSON that a read command gives."""
        done = subprocess.run(self.command(*words, "--json"), stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise DemoFailed(f"`prefd {shlex.join(words)} --json` ended with exit code {done.returncode}")
        return json.loads(done.stdout)

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """A daemon that is stopped whatever happens."""
        if code := self.run("start", "--detach"):
            raise DemoFailed(f"the daemon did not start (exit code {code})")
        try:
            yield
        finally:
            self.run("stop")


def run_jobs(prefd: Prefd, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Each loss's job, done, as `prefd show` describes it."""
    jobs = {}
    with prefd.daemon():
        numbers = {loss: drop(prefd, loss, options) for loss in LOSSES}
        for loss, number in numbers.items():
            code = prefd.run("watch", number)
            jobs[loss] = prefd.read("show", number)
            if code or jobs[loss]["job"]["state"] != "done":
                prefd.run("logs", number, "--last", "30")
                raise DemoFailed(f"job {number} ({loss}) {jobs[loss]['job']['state']}: {jobs[loss]['job']['reason']}")
    return jobs


def drop(prefd: Prefd, loss: str, options: argparse.Namespace) -> str:
    """Write a spec, move it into the watched folder, and return the number of the job that it becomes."""
    name = f"{loss}-{time.strftime('%Y%m%d-%H%M%S')}"
    model, pairs = (json.dumps(str(path.resolve())) for path in (options.model, options.pairs))
    text = SPEC.format(name=name, model=model, pairs=pairs, loss=LOSSES[loss], iters=options.iters)
    written = prefd.home / f"{name}.yaml"
    written.write_text(text, encoding="utf-8")
    dropped = prefd.home / "jobs" / written.name
    written.rename(dropped)
    console.print(f"\n$ mv {written.name} jobs/", style="bold")
    refusal = prefd.home / "jobs" / "rejected" / f"{dropped.name}.error.txt"
    deadline = time.monotonic() + CLAIM_SECONDS
    while time.monotonic() < deadline:
        for job in prefd.read("jobs")["jobs"]:
            if job["name"] == name:
                console.print(f"job {job['id']}: {name}")
                return str(job["id"])
        if refusal.exists():
            raise DemoFailed(f"the daemon refused {dropped.name}:\n{refusal.read_text(encoding='utf-8').strip()}")
        time.sleep(0.5)
    raise DemoFailed(f"the daemon did not pick up {dropped} within {CLAIM_SECONDS:.0f} s; see {prefd.home}/daemon.log")


def comparison(jobs: dict[str, dict[str, Any]]) -> Table:
    """The jobs side by side."""
    table = Table(title="One reference pass, two policies", title_justify="left", title_style="bold")
    table.add_column("")
    for loss, shown in jobs.items():
        table.add_column(f"job {shown['job']['id']}: {loss}", justify="right")
    scoring = [shown["precompute"]["summary"] for shown in jobs.values()]
    training = [shown["training"]["summary"] for shown in jobs.values()]
    seconds = [shown["job"]["phase_seconds"] for shown in jobs.values()]

    def row(name: str, values: Sequence[str]) -> None:
        table.add_row(name, *values)

    row("completions needed", [str(each["completions"]) for each in scoring])
    row("scored by the reference", [str(each["scored"]) for each in scoring])
    row("found in the cache", [str(each["cached"]) for each in scoring])
    row("duplicates avoided", [str(each["duplicates"]) for each in scoring])
    row("seconds of precompute", [f"{each['precompute']:.1f}" for each in seconds])
    row("seconds of training", [f"{each['training']:.1f}" for each in seconds])
    row("steps", [str(each["steps"]) for each in training])
    for name, key in (("loss", "loss"), ("accuracy", "rewards/accuracies"), ("margin", "rewards/margins")):
        row(f"{name}, first and last step", [f"{e['first'][key]:.3f} → {e['last'][key]:.3f}" for e in training])
    if all(each["eval"] for each in training):
        for name, key in (("loss", "eval_loss"), ("accuracy", "eval_rewards/accuracies")):
            row(f"{name} on held-out pairs, at the end", [f"{each['eval'][key]:.3f}" for each in training])
    return table


def show_answers(options: argparse.Namespace, jobs: dict[str, dict[str, Any]]) -> None:
    """One prompt answered by the model as it was and with each adapter."""
    for loss, shown in jobs.items():
        console.print(f"adapter of {loss}: {shown['adapter']}")
    console.print(f"\n{options.prompt}", style="bold")
    console.print(f"  before:        {answer(options)}")
    for loss, shown in jobs.items():
        console.print(f"  after {loss + ':':<8} {answer(options, shown['adapter'])}")
    adapter = next(iter(jobs.values()))["adapter"]
    console.print(
        f"\nAsk it yourself: python -m mlx_lm generate --model {options.model} --adapter-path {adapter} --prompt …"
    )


def answer(options: argparse.Namespace, adapter: str | None = None) -> str:
    """What `mlx_lm.generate` says to the prompt, on one line."""
    words = ["--model", str(options.model), "--prompt", options.prompt, "--max-tokens", "60", "--verbose", "False"]
    words += [] if adapter is None else ["--adapter-path", adapter]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}  # the model is a folder: nothing is to be asked of a hub
    done = subprocess.run(
        [sys.executable, "-c", GENERATE, *words], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DemoFailed(f"mlx_lm could not generate:\n{done.stderr.strip()}")
    return " ".join(done.stdout.split())


if __name__ == "__main__":
    sys.exit(main())
