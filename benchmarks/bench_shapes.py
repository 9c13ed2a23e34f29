"""How often the shapes of a micro-batch come again: whether a whole training step, compiled for its shapes, would be used a second time.

    make bench-shapes    or: python benchmarks/bench_shapes.py [--pairs 400] [--markdown results.md]

Real pairs in batches of 4 over two epochs, planned as for a Mac and as for a large card; no model runs. A prompt runs once for both its
answers, so a micro-batch has the shapes of its prompts and of its answers. Each length is rounded up on a grid whose steps have this
ratio, which is what the padding comes from.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

from prefd.daemon.machine import blas

blas.preload()

from bench_train import add_options, prepare

from prefd.daemon.home.layout import Home
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models.tiers import Tier
from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.plan import MULTIPLE, Slack
from prefd.daemon.worker.training.batch_settings import BATCH_TOKENS
from prefd.daemon.worker.training.schedule import Batching, Schedule

DEVICES: dict[Tier, Slack] = {"metal": plan.METAL, "cuda": plan.CUDA}
RATIOS = (1.0, 1.05, 1.1, 1.25, 1.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, pairs=400, max_length=1024)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prefd-bench-") as folder:
        home = Home(Path(folder))
        prepare(options, home)
        examples = list(RunningJob.load(home, 1).examples)
    lines = [
        f"{len(examples)} pairs of {options.data.name}, batch size {options.batch_size}, two epochs",
        "",
        "| planned for | steps of the grid | micro-batches | of other shapes | padding for it |",
        "|---" * 5 + "|",
        *(list_row(examples, device, ratio, options.batch_size) for device in DEVICES for ratio in RATIOS),
    ]
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


def list_row(examples: Sequence[Example], device: Tier, ratio: float, batch_size: int) -> str:
    steps_per_epoch = -(-len(examples) // batch_size)
    schedule = Schedule(examples, batch_size, 2 * steps_per_epoch, seed=0)
    batching = Batching(batch_size, BATCH_TOKENS[device])
    shapes: list[tuple[tuple[int, int], ...]] = []
    planned = 0
    for step in range(1, schedule.total_steps + 1):
        for batch in batching.split(schedule.pairs(step)):
            stems = plan.plan_shared(
                [side for pair in batch for side in (pair.chosen, pair.rejected)], DEVICES[device], DEVICES[device]
            )
            arrays = [part for stem in stems for part in (stem.tokens, *(branch.tokens for branch in stem.branches))]
            planned += sum(array.size for array in arrays)
            shapes.append(tuple((array.shape[0], round_up(array.shape[1], ratio)) for array in arrays))
    padded = sum(rows * length for each in shapes for rows, length in each)
    grid = f"{ratio:g}" if ratio > 1 else f"{MULTIPLE} tokens, as it is"
    return f"| {device} | {grid} | {len(shapes)} | {len(set(shapes))} | {padded / planned - 1:.1%} |"


def round_up(length: int, ratio: float) -> int:
    """The next length of a grid whose steps have this ratio, and MULTIPLE tokens at least."""
    if ratio == 1 or not length:
        return length
    size = MULTIPLE
    while size < length:
        size = max(size + MULTIPLE, math.ceil(size * ratio / MULTIPLE) * MULTIPLE)
    return size


if __name__ == "__main__":
    main()
