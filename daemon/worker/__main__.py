"""A worker process: `python -m prefd.daemon.worker TASK --home HOME [--job ID]`.

Phases (`precompute`, `training`) leave an outcome in the job's folder and exit with a `WorkerExit`. The other tasks print one JSON document; with exit code 1 it is {"error": what is wrong, in words}.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefd.daemon import blas, cpus
from prefd.daemon.errors import EXPECTED, WorkerExit
from prefd.daemon.rundir import PHASES


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="prefd.daemon.worker")
    parser.add_argument("task", choices=[*PHASES, *ANSWERS])
    parser.add_argument("--home", type=Path, default=Path())
    parser.add_argument("--job", type=int, default=0)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    cpus.apply_limits()  # before there is a thread
    blas.preload()  # before anything imports mlx
    if given.task in PHASES:
        from prefd.daemon.worker.phase import run_phase

        return run_phase(given.task, given.home, given.job)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is not part of the answer
            found = ANSWERS[given.task](given.home)
    except EXPECTED as error:
        print(error, file=sys.stderr)
        print(json.dumps({"error": str(error)}))  # stderr has other lines before it
        return WorkerExit.FAILED
    print(json.dumps(found))
    return WorkerExit.DONE


def describe_device(_: Path) -> dict[str, Any]:
    from prefd.daemon.worker.device import describe

    return describe(blas.preload())


def list_plugins(home: Path) -> dict[str, Any]:
    from prefd.daemon.worker.catalog import catalog

    return catalog(home)


def explain_needs(home: Path) -> dict[str, Any]:
    """Reads the spec, resolved, as JSON from stdin."""
    from prefd.daemon.spec import JobSpec
    from prefd.daemon.worker.explain import explain

    return explain(home, JobSpec.model_validate_json(sys.stdin.buffer.read()))


def preview_pairs(home: Path) -> dict[str, Any]:
    """Reads a `previews.Request` as JSON from stdin."""
    from prefd.daemon.home import Home
    from prefd.daemon.previews import Request
    from prefd.daemon.worker.preview import preview

    return preview(Home(home), Request(**json.load(sys.stdin)))


def check_data(home: Path) -> dict[str, Any]:
    """Reads {"specs": resolved specs} as JSON from stdin."""
    from prefd.daemon.home import Home
    from prefd.daemon.spec import JobSpec
    from prefd.daemon.worker.preview import check

    specs = [JobSpec.model_validate(each) for each in json.load(sys.stdin)["specs"]]
    return {"found": check(Home(home), specs)}


def score_again(home: Path) -> dict[str, Any]:
    """Reads a `rescore.Request` as JSON from stdin."""
    from prefd.daemon.worker.rescore import Request, rescore

    return rescore(home, Request(**json.load(sys.stdin)))


def check_loss(home: Path) -> dict[str, Any]:
    """Reads {"name"} as JSON from stdin."""
    from prefd.daemon.worker.catalog import check_loss

    return check_loss(home, json.load(sys.stdin)["name"])


ANSWERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "catalog": list_plugins,
    "check-data": check_data,
    "check-loss": check_loss,
    "device": describe_device,
    "explain": explain_needs,
    "preview": preview_pairs,
    "rescore": score_again,
}


if __name__ == "__main__":
    sys.exit(main())
