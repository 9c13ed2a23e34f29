"""Whether sequences that run together keep the bits they have alone: tried on this machine, and kept.

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
from prefd.daemon.worker.scoring.trunk import named

log = logging.getLogger(__name__)

Plan = TypeVar("Plan")


NOTHING = "nothing"


def find_plan_that_keeps_bits(
    model: nn.Module, way: str, plans: Mapping[str, Plan], keeps_bits: Callable[[Plan], bool]
) -> str | None:
    """Returns the name of the first of `plans` for which `keeps_bits` holds, None where it holds for none.

    It is called only where the answer for this kernel, a model of this shape and this `way` of running it is not in the
    file yet.
    """
    kernel, shape = kernel_in_use(), f"{way}, model {_digest_shapes(model)}"
    known = _read().get(kernel, {}).get(shape)
    if isinstance(known, str) and known in (*plans, NOTHING):
        return None if known == NOTHING else known
    answer = next((name for name, plan in plans.items() if keeps_bits(plan)), None)
    log.info("%s: sequences that run together keep their bits: %s", kernel, answer or NOTHING)
    _keep(kernel, shape, answer or NOTHING)
    return answer


def kernel_in_use() -> str:
    """The BLAS behind MLX by name, version, kernel and number of threads, and MLX's own version."""
    found = [
        f"{pool['internal_api']} {pool['version']} {pool.get('architecture')}, {pool['num_threads']} threads"
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas" and "scipy" not in str(pool.get("prefix"))  # numpy's own is not MLX's
    ]
    system = f"Accelerate of macOS {platform.mac_ver()[0]}" if sys.platform == "darwin" else "MLX's own BLAS"
    return f"{found[0] if found else system}; mlx {version('mlx')}; {platform.machine()}"


def place() -> Path:
    """Where the answers are kept."""
    return Path(platformdirs.user_cache_dir("prefd", appauthor=False)) / "kernels.json"


def _digest_shapes(model: nn.Module) -> str:
    """A digest of the names, shapes and types of all parameters, and of which adapters do anything yet."""
    digest = hashlib.sha256()
    for name, value in named(model.parameters()):
        idle = name.endswith("lora_b") and not value.any().item()
        digest.update(f"{name} {value.shape} {value.dtype} {idle}\n".encode())
    return digest.hexdigest()[:32]


def _read() -> dict[str, dict[str, str]]:
    try:
        kept = json.loads(place().read_bytes())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) and all(isinstance(each, dict) for each in kept.values()) else {}


def _keep(kernel: str, shape: str, answer: str) -> None:
    """Write the answer down; another process that does so at the same moment may undo it, and then it is tried again."""
    kept = _read()
    kept.setdefault(kernel, {})[shape] = answer
    try:
        place().parent.mkdir(parents=True, exist_ok=True)
        write_json(place(), kept)
    except OSError as error:
        log.info("%s cannot be written (%s): it will be tried again", place(), error.strerror or error)
