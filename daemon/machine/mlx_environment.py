"""Sets what MLX and the drivers below it read from the environment, before a worker imports MLX."""

from __future__ import annotations

import logging
import os
import sys

import platformdirs

log = logging.getLogger(__name__)

TF32 = "MLX_ENABLE_TF32"
BUFFER_LIMITS = {"MLX_MAX_OPS_PER_BUFFER": 40, "MLX_MAX_MB_PER_BUFFER": 40}
"""What ends one of Metal's command buffers on most Macs, by MLX's own default: operations, and millions of numbers in their arrays."""


def prepare(halvings: int = 0) -> None:
    """Set the variables that make float32 exact, let long passes live, and keep a cache folder for each user.

    - float32 products stay float32: with TF32, MLX's default on newer NVIDIA cards and on M5, they have 10 bits, and
      log-probabilities would be as noisy as a half-precision model's.
    - Metal gives a pass more time while the display is on, where it would end it as "Impacting Interactivity".
    - Metal's command buffers are halved as often as the batches of the job were (`halvings`), one operation at least: that
      changes no number.
    - CUDA's compiled kernels lie in a folder of this user's: MLX's own default belongs to the first user of the machine.

    Must run before the first `import mlx.core` of the process.
    """
    if os.environ.get(TF32, "0") != "0":
        log.warning("%s=%s is not used: float32 would have 10 bits; it is 0 in workers", TF32, os.environ[TF32])
    os.environ[TF32] = "0"
    if sys.platform == "darwin":
        os.environ.setdefault("AGX_RELAX_CDM_CTXSTORE_TIMEOUT", "1")
        for name, limit in BUFFER_LIMITS.items() if halvings else ():
            os.environ.setdefault(name, str(max(1, limit >> halvings)))
    elif "MLX_PTX_CACHE_DIR" not in os.environ:
        os.environ["MLX_PTX_CACHE_DIR"] = str(platformdirs.user_cache_path("prefd", appauthor=False) / "ptx")
