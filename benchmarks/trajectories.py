"""Whether rounding decides where training goes: every loss over 20 steps, by what the log-ratios come from.

    python benchmarks/trajectories.py [--steps 20] [--cores Haswell SkylakeX …] [--markdown benchmarks/trajectories.md]

Each loss trains from the cache and with a live reference beside the policy, on a tiny model and on SmolLM2; and, on the
tiny model, in float64: full logits, a live reference, no batching, nothing of prefd's engine. Said is the largest
difference of a step's loss. `dpop as it was` is without what `worker/training/start.py` does: rounding then chooses which pairs the
penalty pulls at. On Linux each of `--cores` runs in a process of its own under OPENBLAS_CORETYPE, with one thread and with
two (SmolLM2 with one only); a loss without a reference has nothing live to differ from.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prefd.daemon.machine import blas

blas.preload()

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import mlx.core as mx
import numpy as np

from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.fine_tune import make_trainable
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.training.optimizer import make_optimizer
from prefd.daemon.worker.training.schedule import Batching, Schedule
from prefd.daemon.worker.training.start import Start
from prefd.daemon.worker.training.train import open_cached_reference
from prefd.daemon.worker.training.trainer import ReferenceScores, Trainer
from support import tiny_model
from support.float64_training import exact_losses
from support.jobs_on_disk import make_job, run_precompute
from support.live_reference import live_reference

SMOL = ROOT / ".models" / "SmolLM2-135M-Instruct"
PAIRS = ROOT / "contrib" / "demo" / "pairs.jsonl"
LOSSES = ("sigmoid", "hinge", "ipo", "dpop", "cpo", "cpo_hinge", "cpo_ipo", "cpo_dpop", "simpo", "sft")
WITHOUT_REFERENCE = LOSSES[4:]
AS_IT_WAS = "dpop as it was"
CORES = ("Haswell", "Zen", "SkylakeX", "Sandybridge", "Nehalem")
COLUMNS = ("tiny, cached − live", "tiny, cached − float64", "SmolLM2, cached − live")


def main() -> None:
    options = arguments()
    if options.child:
        print(json.dumps(measure(options.steps, options.real)))
        return
    lines = [f"Largest difference of a step's loss over {options.steps} steps", ""]
    for core in options.cores:
        for threads in (1, 2):
            print(f"{core or 'this machine'}, {threads} threads", file=sys.stderr)
            lines += [*table(core, threads, child(core, threads, options.steps)), ""]
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines), encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cores", nargs="+", default=CORES if sys.platform == "linux" else ("",))
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--real", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def child(core: str, threads: int, steps: int) -> dict[str, dict[str, float]]:
    set_here = {"OPENBLAS_NUM_THREADS": str(threads), "OPENBLAS_THREAD_TIMEOUT": "4"}
    set_here |= {"OPENBLAS_CORETYPE": core} if core else {}
    command = [sys.executable, __file__, "--child", "--steps", str(steps), *(["--real"] if threads == 1 else [])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **set_here})
    result: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return result


def table(core: str, threads: int, measured: dict[str, dict[str, float]]) -> list[str]:
    lines = [f"**{core or 'this machine'}**, {threads} thread{'s' if threads > 1 else ''}", ""]
    shown = [name for name in COLUMNS if any(name in columns for columns in measured.values())]
    lines += ["| loss | " + " | ".join(shown) + " |", "|---" * (1 + len(shown)) + "|"]
    for loss, columns in measured.items():
        cells = [f"{columns[name]:.1e}" if name in columns else "-" for name in shown]
        lines.append(f"| `{loss}` | {' | '.join(cells)} |")
    return lines


def measure(steps: int, real: bool) -> dict[str, dict[str, float]]:
    """Loss → column → the largest difference, in this process."""
    measured: dict[str, dict[str, float]] = {loss: {} for loss in (*LOSSES, AS_IT_WAS)}
    with tempfile.TemporaryDirectory(prefix="prefd-bench-") as folder:
        home = Path(folder)
        small = tiny_model.build_llama(home / "tiny")
        lines = PAIRS.read_text(encoding="utf-8").splitlines(keepends=True)
        (home / "pairs.jsonl").write_text("".join(lines[:24]), encoding="utf-8")
        for loss, columns in measured.items():
            job = job_of(home, small, loss, {"learning_rate": 1e-3, "batch_size": 2})
            cached, live = both(job, steps, loss)
            if loss not in WITHOUT_REFERENCE:
                columns[COLUMNS[0]] = apart(cached, live)
            columns[COLUMNS[1]] = apart(cached, exact_losses(job, steps))
        if real and SMOL.exists():
            for loss, columns in measured.items():
                if loss in WITHOUT_REFERENCE:
                    continue  # one run, not two
                training = {"learning_rate": 1e-4, "batch_size": 1, "num_layers": 2}
                cached, live = both(job_of(home, SMOL, loss, training), steps, loss)
                columns[COLUMNS[2]] = apart(cached, live)
    return measured


def job_of(home: Path, model: Path, loss: str, training: dict[str, Any]) -> RunningJob:
    name = "dpop" if loss == AS_IT_WAS else loss
    data = {"path": str(home / "pairs.jsonl"), "max_length": 64, "validation": 0.0}
    return make_job(home, model=str(model), data=data, loss={"name": name}, training=training | {"iters": 20})


def both(job: RunningJob, steps: int, loss: str) -> tuple[list[float], list[float]]:
    """The losses of each step: from the cache, and with a live reference."""
    if not job.loss.needs_reference:
        return losses(job, None, steps, Start()), losses(job, None, steps, Start())
    run_precompute(job)
    sources: Sequence[Callable[[RunningJob], ReferenceScores]] = (open_cached_reference, live)
    return tuple(losses(job, source(job), steps, None if loss != AS_IT_WAS else Start()) for source in sources)  # type: ignore[return-value]


def live(job: RunningJob) -> ReferenceScores:
    return live_reference(fastest_scorer(loading.load(job.reference).freeze()))


def losses(job: RunningJob, reference: ReferenceScores | None, steps: int, start: Start | None) -> list[float]:
    assert job.spec.training is not None
    mx.random.seed(job.spec.training.seed)
    model = loading.load(job.policy)
    make_trainable(model, job.policy, job.spec.training)
    schedule = Schedule.plan(job.data.train, job.spec.training)
    optimizer = make_optimizer(job.spec.training, schedule.total_steps, model)
    trainer = Trainer(fastest_scorer(model), optimizer, job.loss, reference, Batching(2, 512))
    if start is None:
        trainer.measure_noise(schedule.pairs(1), same=True)
        trainer.start.unmoved = True
    return [trainer.step(step, schedule.pairs(step))["loss"] for step in range(1, steps + 1)]


def apart(one: Sequence[float], other: Sequence[float]) -> float:
    return float(np.abs(np.subtract(one, other)).max())


if __name__ == "__main__":
    main()
