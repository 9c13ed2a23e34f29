"""A job's own process: `python -m prefd.daemon.worker PHASE --home HOME --job ID`.

Exit codes: 0 done, 1 failed (the reason is in the run folder), 75 stopped on request with its state saved.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from pathlib import Path

from prefd.daemon import blas

STOPPED = 75


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="prefd.daemon.worker")
    parser.add_argument("task", choices=["precompute", "training", "catalog", "device"])
    parser.add_argument("--home", type=Path)
    parser.add_argument("--job", type=int)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    loaded = blas.preload()  # before anything imports mlx
    if given.task == "device":
        from prefd.daemon.worker.device import describe

        print(json.dumps(describe(loaded)))
        return 0
    if given.home is None:
        parser.error("--home is needed")
    if given.task == "catalog":
        from prefd.daemon.worker.catalog import catalog

        with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is not part of the answer
            found = catalog(given.home)
        print(json.dumps(found))
        return 0
    if given.job is None:
        parser.error("--job is needed")
    from prefd.daemon.worker.phase import run_phase

    return run_phase(given.task, given.home, given.job)


if __name__ == "__main__":
    sys.exit(main())
