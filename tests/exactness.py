"""What one BLAS kernel does to numbers, as one line of JSON: run in a child, for a kernel is chosen when it is loaded.

OPENBLAS_CORETYPE=Haswell OPENBLAS_NUM_THREADS=2 python tests/exactness.py [FOLDER OF A REAL MODEL]
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from prefd.daemon import blas
from prefd.daemon.worker.choose import fastest_scorer

blas.preload()

import mlx_lm
import numpy as np
import tiny
from exact import exact_losses
from jobs_on_disk import make_job, run_precompute
from test_logprobs import neighbours_apart, with_siblings
from test_trainer import live, losses

from prefd.daemon.worker.kernels import kernel_in_use
from prefd.daemon.worker.training import cached_reference

PAIRS = [
    {"prompt": "What is two plus two?", "chosen": "Four.", "rejected": "It could be many things, who knows."},
    {"prompt": "Name a primary colour.", "chosen": "Red is one.", "rejected": "Colours are lovely, are they not?"},
    {"prompt": "Is the sun a star?", "chosen": "Yes, it is a star.", "rejected": "No."},
    {"prompt": "Where do penguins live?", "chosen": "In the south.", "rejected": "Up at the North Pole with bears."},
]


def neighbours(model: Any, vocabulary: int) -> dict[str, Any]:
    """Whether the scorer believes that it keeps bits, and the largest difference that a neighbour makes, in nats."""
    scorer = fastest_scorer(model)
    batch = with_siblings((9, 33, 41, 100, 300), vocabulary)
    return {"same_bits": scorer.same_bits, "nats": neighbours_apart(scorer, batch)}


def trajectories(folder: Path, model: Path, loss: str) -> dict[str, float]:
    """The largest difference of a step's loss over 20 steps: from the cache and live, and from the cache and in float64."""
    pairs = folder / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS), encoding="utf-8")
    training = {"batch_size": 2, "iters": 20, "learning_rate": 1e-3, "seed": 1}
    data = {"path": str(pairs), "validation": 0.0}
    job = make_job(folder / "home", model=str(model), data=data, loss={"name": loss}, training=training)
    run_precompute(job)
    cached = losses(job, cached_reference(job))
    return {
        "live": float(np.abs(np.subtract(cached, losses(job, live(job)))).max()),
        "float64": float(np.abs(np.subtract(cached, exact_losses(job, 20))).max()),
        "first": cached[0],
    }


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="prefd-") as made:
        folder = Path(made)
        model = tiny.build_llama(folder / "tiny")
        models = {str(model): 300} | dict.fromkeys(sys.argv[1:], 49152)
        found = {
            "kernel": kernel_in_use(),
            "neighbours": {name: neighbours(mlx_lm.load(name)[0], size) for name, size in models.items()},
            "losses": {loss: trajectories(folder, model, loss) for loss in ("sigmoid", "hinge", "ipo", "dpop")},
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
