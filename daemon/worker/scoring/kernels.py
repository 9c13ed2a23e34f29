"""Tries on this machine whether sequences that run together keep the bits they have alone, and remembers the answer.

Some kernels of a BLAS give a row of a product other last digits with the number of rows (OpenBLAS's for AVX2, so on most
PCs), others do not (its for AVX-512 and for SSE, up to the lengths in `scoring/plan.py`), and threads cut the rows once
more. No table of processors would stay true. So a few sequences run alone and together, once for each kernel and shape of
model on a machine; the answer is kept in the user's cache folder, under what it depends on, and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import platformdirs
import threadpoolctl
from mlx import nn

from prefd.daemon.machine.files import write_json
from prefd.daemon.worker.scoring.trunk import list_arrays

log = logging.getLogger(__name__)

Plan = TypeVar("Plan")


NOTHING = "nothing"


def find_plan_that_keeps_bits(
    model: nn.Module, way: str, plans: Mapping[str, Plan], keeps_bits: Callable[[Plan], bool]
) -> str | None:
    """Return the name of the first of `plans` for which `keeps_bits` holds, None where it holds for none.

    `keeps_bits` is called only where the answer for this kernel, a model of this shape and this `way` of running it is not
    in the file yet.
    """
    kernel, shape = name_kernel(), f"{way}, model {_digest_shapes(model)}"
    known_answer = _read_answers().get(kernel, {}).get(shape)
    if isinstance(known_answer, str) and known_answer in (*plans, NOTHING):
        return None if known_answer == NOTHING else known_answer
    answer = next((name for name, plan in plans.items() if keeps_bits(plan)), None)
    log.info("%s: sequences that run together keep their bits: %s", kernel, answer or NOTHING)
    _write_answer(kernel, shape, answer or NOTHING)
    return answer


def name_kernel() -> str:
    """Name the BLAS behind MLX: its name, version, kernel and number of threads, and MLX's own version."""
    kernels = [
        f"{pool['internal_api']} {pool['version']} {pool.get('architecture')}, {pool['num_threads']} threads"
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas" and "scipy" not in str(pool.get("prefix"))  # numpy's own is not MLX's
    ]
    system = f"Accelerate of macOS {platform.mac_ver()[0]}" if sys.platform == "darwin" else "MLX's own BLAS"
    return f"{kernels[0] if kernels else system}; mlx {version('mlx')}; {platform.machine()}"


def locate_answers() -> Path:
    """Return the path of the file that keeps the answers."""
    return Path(platformdirs.user_cache_dir("prefd", appauthor=False)) / "kernels.json"


def _digest_shapes(model: nn.Module) -> str:
    """Digest the names, shapes and types of all parameters, and which adapters do anything yet."""
    digest = hashlib.sha256()
    for name, value in list_arrays(model.parameters()):
        idle = name.endswith("lora_b") and not value.any().item()
        digest.update(f"{name} {value.shape} {value.dtype} {idle}\n".encode())
    return digest.hexdigest()[:32]


def _read_answers() -> dict[str, dict[str, str]]:
    try:
        answers = json.loads(locate_answers().read_bytes())
    except (OSError, ValueError):
        return {}
    return answers if isinstance(answers, dict) and all(isinstance(each, dict) for each in answers.values()) else {}


def _write_answer(kernel: str, shape: str, answer: str) -> None:
    """Write the answer down; another process that does so at the same moment may undo it, and then it is tried again."""
    answers = _read_answers()
    answers.setdefault(kernel, {})[shape] = answer
    try:
        locate_answers().parent.mkdir(parents=True, exist_ok=True)
        write_json(locate_answers(), answers)
    except OSError as error:
        log.info("%s cannot be written (%s): it will be tried again", locate_answers(), error.strerror or error)
