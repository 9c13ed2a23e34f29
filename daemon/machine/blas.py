"""`preload` loads a fast BLAS for MLX on Linux CPU into the global symbol scope, before mlx is imported.

The mlx-cpu wheel brings the reference BLAS (about 4 GFLOP/s); an OpenBLAS or MKL whose `cblas_*` symbols are already
global wins over it (40 times faster). Costs: one dlopen in each process. Nothing is done on macOS or with CUDA.

`preload` also turns MLX's CPU compiler off: it gains nothing here, needs g++, and keeps what it built in a folder under
/tmp that belongs to the machine's first user and fails for the second.
"""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

log = logging.getLogger(__name__)

INSTALL = "sudo apt-get install libopenblas0-pthread   (or without root: make blas)"
MISSING = f"no fast BLAS found: MLX on this CPU runs about 40 times slower. Install one: {INSTALL}"
OPENBLAS_NEEDS = ("libquadmath.so.0", "libgfortran.so.5")


def is_wanted() -> bool:
    """Return whether this is Linux with MLX's CPU backend alone."""
    if sys.platform != "linux":
        return False
    folders = [
        Path(folder) for folder in sys.path if folder
    ]  # asked for their names, distributions read their whole texts
    return not any(any(folder.glob("mlx_cuda*.dist-info")) for folder in folders)


def list_candidates() -> Iterator[Path | str]:
    """Yield where a usable library may be, best first: $PREFD_BLAS, this environment's own, the system's."""
    if path := os.environ.get("PREFD_BLAS"):
        yield Path(path)
    environment = Path(sys.prefix) / "lib"
    yield from sorted((environment / "prefd-blas").glob("libopenblas.so*"))
    yield from sorted(environment.glob("libmkl_rt.so*"))
    yield "libopenblas.so.0"
    yield "libopenblas.so"


@cache
def preload() -> str | None:
    """Load the first usable BLAS and return its name; None where none is wanted or found (then one warning is logged).

    Must run before the first `import mlx.core` of the process.
    """
    if not is_wanted():
        return None
    os.environ.setdefault("MLX_DISABLE_COMPILE", "1")
    for candidate in list_candidates():
        if loaded := _load(candidate):
            return loaded
    log.warning("%s", MISSING)
    return None


def is_missing() -> bool:
    """Return whether the workers will find no fast BLAS. A child process looks, so that this one need not load the library."""
    if not is_wanted():
        return False
    code = "import sys; from prefd.daemon.machine import blas; sys.exit(blas.preload() is None)"
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 1


def _load(candidate: Path | str) -> str | None:
    try:
        if isinstance(candidate, Path):
            for dependency in OPENBLAS_NEEDS:  # a library unpacked without root has its own beside it
                if (candidate.parent / dependency).exists():
                    ctypes.CDLL(str(candidate.parent / dependency), mode=ctypes.RTLD_GLOBAL)
        library = ctypes.CDLL(str(candidate), mode=ctypes.RTLD_GLOBAL)
        library.cblas_sgemm  # noqa: B018  # numpy's and scipy's bundled OpenBLAS rename it and cannot serve
    except (OSError, AttributeError):
        return None
    return str(candidate)
