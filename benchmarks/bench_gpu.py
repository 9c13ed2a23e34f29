"""Training on this machine's GPU, with each of the ways that make a GPU faster switched on in turn, and mlx-lm-lora's DPO trainer.

    make bench-gpu    or: python benchmarks/bench_gpu.py [--steps 6] [--markdown results.md]

SmolLM2-135M and a random Llama of 1 B weights, each in bfloat16 and with 4-bit weights; pairs of 128 + 128 tokens, and of 57 prompt, 350
chosen and 99 rejected tokens on average. One process for each model and precision; under 8 minutes in all, and what there was no time for
is said. Tokens a second count both answers with their prompts, as prefd's metric does. It runs on a CPU too, where it shows that it runs:
`--toy` takes a tiny model. No table of a GPU is in this folder yet, for none was at hand: yours is welcome.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prefd.daemon.machine import blas

blas.preload()

import mlx.core as mx
from gpu_cells import WAYS, WORKLOADS, Cell, measure_cells

from prefd.daemon.worker.models.device import describe_machine
from prefd.daemon.worker.selftest.random_models import TINY, Size, write_model

ROOT = Path(__file__).parent.parent
SMOL = ROOT / ".models" / "SmolLM2-135M-Instruct-bf16"
BILLION = Size(layers=20, width=2048, vocabulary=128_256)
PRECISIONS: dict[str, int | None] = {"bfloat16": None, "4-bit": 4}


def main() -> None:
    options = arguments()
    if options.child:
        print(json.dumps(measure_cells(options.child, options.bits, options.workloads, options.ways, options)))
        return
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="prefd-bench-") as folder:
        models = list_models(options, Path(folder))
        lines = [
            f"{describe_machine()}; MLX {version('mlx')}, batch size {options.batch_size}, LoRA rank 8, medians of {options.steps} steps"
        ]
        remaining = len(models) * len(options.precisions)
        for title, path in models.items():
            for precision in options.precisions:
                seconds = (60 * options.minutes - (time.monotonic() - began)) / remaining
                remaining -= 1
                print(f"{title}, {precision}", file=sys.stderr)
                lines += [
                    "",
                    *list_table(f"{title}, {precision}", run_child(options, path, precision, seconds), options.shrink),
                ]
    lines += ["", f"{time.monotonic() - began:.0f} s in all."]
    print("\n".join(lines))
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6, help="timed steps of each way, after one to warm up")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=7.5, help="in all")
    parser.add_argument("--model", type=Path, default=SMOL, help="the small model, in half precision")
    parser.add_argument(
        "--toy", action="store_true", help="a tiny model in place of both, and short pairs: does it run?"
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--markdown", type=Path, help="write the tables here too")
    parser.add_argument("--shrink", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--bits", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


def list_models(options: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """The models by title; random ones are written to `folder`."""
    if options.toy:
        options.shrink = 16
        return {"a random Llama, tiny": write_model(folder / "tiny", TINY)}
    models = {}
    if options.model.is_dir():
        models["SmolLM2-135M"] = options.model
    else:
        print(f"{options.model} is not there (`make bench-gpu` builds it); it is left out", file=sys.stderr)
    models["a random Llama of 1 B"] = write_model(folder / "billion", BILLION, "bfloat16")
    mx.clear_cache()
    return models


def run_child(options: argparse.Namespace, model: Path, precision: str, seconds: float) -> list[Cell]:
    """Measure a model in one precision in a process of its own, which has `seconds` to begin with the last of its ways."""
    bits = PRECISIONS[precision]
    command = [
        *(sys.executable, __file__, "--child", str(model), "--seconds", str(seconds), "--shrink", str(options.shrink)),
        *("--steps", str(options.steps), "--batch-size", str(options.batch_size)),
        *("--ways", *options.ways, "--workloads", *options.workloads, *(() if bits is None else ("--bits", str(bits)))),
    ]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        fault = f"its process ended with code {done.returncode}"
        return [
            {"workload": workload, "way": way, "fault": fault} for workload in options.workloads for way in options.ways
        ]
    cells: list[Cell] = json.loads(done.stdout.splitlines()[-1])
    return cells


def list_table(title: str, cells: Sequence[Cell], shrink: int) -> list[str]:
    lines = [f"**{title}**"]
    for workload, lengths in WORKLOADS.items():
        own = [cell for cell in cells if cell["workload"] == workload]
        if not own:
            continue
        lines += [
            "",
            "| {} prompt, {} chosen, {} rejected | tokens/s | ÷ the first | peak memory, GB | evaluations a step | operations a step |".format(
                *(length // shrink for length in lengths)
            ),
            "|---" * 6 + "|",
        ]
        first = next((cell["tokens_per_second"] for cell in own if "tokens_per_second" in cell), None)
        lines += [list_row(cell, first) for cell in own]
    return lines


def list_row(cell: Cell, first: Any) -> str:
    if "fault" in cell:
        return f"| {WAYS[cell['way']]} | {' '.join(cell['fault'].split())} |  |  |  |  |"
    rate = cell["tokens_per_second"]
    numbers = [f"{rate:,.0f}", f"{rate / first:.2f}", f"{cell['peak'] / 1e9:.2f}"]
    numbers += [f"{cell['evaluations']:,}", f"{cell['operations']:,}" if "operations" in cell else ""]
    return f"| {WAYS[cell['way']]} | {' | '.join(numbers)} |"


if __name__ == "__main__":
    main()
