"""What one BLAS kernel does to numbers, as one line of JSON: run in a child, for a kernel is chosen when it is loaded.

OPENBLAS_CORETYPE=Haswell OPENBLAS_NUM_THREADS=2 PYTHONPATH=tests python -m support.kernel_numbers MODEL [LOSS…]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from prefd.daemon.machine import blas

assert "mlx.core" not in sys.modules, "it would be bound to another BLAS already"
blas.preload()

import mlx_lm

from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.kernels import name_kernel
from prefd.daemon.worker.training.train import open_cached_reference
from support.first_losses import losses
from support.float64_training import job_of
from support.jobs_on_disk import run_precompute
from support.live_reference import live
from support.neighbours import neighbours_apart, with_siblings

LENGTHS = (9, 33, 150)
"""The tokens of the sequences that are scored side by side; tests/daemon/worker/scoring/test_scorer.py takes more."""


def neighbours(model: Path) -> dict[str, Any]:
    """Whether the scorer believes that it keeps bits, and the largest difference that a neighbour makes, in nats."""
    scorer = fastest_scorer(mlx_lm.load(str(model))[0].freeze())
    batch = with_siblings(LENGTHS, scorer.vocabulary)
    return {"same_bits": scorer.same_bits, "nats": neighbours_apart(scorer, batch)}


def trajectories(model: Path, *loss_names: str) -> dict[str, dict[str, list[float]]]:
    """The losses of the first steps of each, from the cache and with a live reference."""
    all_losses = {}
    for name in loss_names:
        with tempfile.TemporaryDirectory(prefix="prefd-") as folder:
            job = job_of(Path(folder), model, name)
            run_precompute(job)
            all_losses[name] = {"cached": losses(job, open_cached_reference(job)), "live": losses(job, live(job))}
    return all_losses


def main(model: Path, *loss_names: str) -> None:
    numbers = {"neighbours": neighbours(model), "losses": trajectories(model, *loss_names)}
    print(json.dumps({"kernel": name_kernel()} | numbers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
