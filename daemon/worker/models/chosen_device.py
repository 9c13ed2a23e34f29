"""Has MLX compute on the device that the daemon's settings name."""

from __future__ import annotations

import mlx.core as mx

from prefd.daemon.errors import PrefdError


class NoGPU(PrefdError):
    """Raised where the settings ask for a GPU and MLX has none; the message, for the machine's owner, has the remedies."""


def set_device(choice: str) -> None:
    """Have everything in this process compute on `choice`, which is auto, cpu or gpu. Raises `NoGPU`."""
    if choice == "auto":
        return
    if choice == "gpu" and not mx.is_available(mx.gpu):
        raise NoGPU(
            'worker.device is "gpu" in config.toml, and MLX has no GPU here: set it to "auto" or "cpu", or install what the '
            "card needs (`prefd doctor` says what is computed on)"
        )
    mx.set_default_device(mx.cpu if choice == "cpu" else mx.gpu)
