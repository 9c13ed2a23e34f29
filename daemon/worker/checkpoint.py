"""What training leaves on disk: checkpoints to go on from, and the adapter in mlx-lm's own contract.

Every folder is written beside and renamed, so a name that exists is whole. Optimizer state is in a file of its own:
mlx-lm refuses an adapters.safetensors that holds anything but adapter leaves.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.optimizers import Optimizer
from mlx.utils import tree_flatten, tree_unflatten

from prefd.cache.segment import flush

WEIGHTS = "adapters.safetensors"
OPTIMIZER = "optimizer.safetensors"


def save_adapter(folder: Path, model: nn.Module, config: Mapping[str, Any]) -> None:
    """Publish the trainable parameters at `folder` as mlx-lm loads them, replacing what was there."""
    with Published(folder) as made:
        _write_adapter(made, model, config)


def _write_adapter(folder: Path, model: nn.Module, config: Mapping[str, Any]) -> None:
    weights = dict(tree_flatten(model.trainable_parameters()))
    mx.save_safetensors(str(folder / WEIGHTS), weights, metadata={"format": "mlx"})
    (folder / "adapter_config.json").write_text(json.dumps(dict(config), indent=4, sort_keys=True), encoding="utf-8")


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run, one folder a step; the newest `keep` stay."""

    folder: Path
    keep: int

    def save(self, step: int, model: nn.Module, optimizer: Optimizer, config: Mapping[str, Any]) -> None:
        """Everything step `step + 1` depends on besides the spec: adapter and optimizer state."""
        with Published(self.folder / f"step-{step:08d}") as made:
            _write_adapter(made, model, config)
            mx.save_safetensors(str(made / OPTIMIZER), dict(tree_flatten(optimizer.state)))
        for old in self._all()[: -self.keep]:
            shutil.rmtree(old)

    def restore(self, model: nn.Module, optimizer: Optimizer) -> int:
        """Load the newest checkpoint into both and return its step; 0 where there is none."""
        if not (found := self._all()):
            return 0
        newest = found[-1]
        model.load_weights(str(newest / WEIGHTS), strict=False)
        state = mx.load(str(newest / OPTIMIZER))
        assert isinstance(state, dict)  # what safetensors give
        optimizer.state = tree_unflatten(list(state.items()))
        return int(newest.name.removeprefix("step-"))

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


class Published:
    """A folder that appears whole or not at all: `with Published(path) as made:` fills `made`, then renames it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = folder.with_name(f".{folder.name}.partial")
        self.old = folder.with_name(f".{folder.name}.old")

    def __enter__(self) -> Path:
        shutil.rmtree(self.made, ignore_errors=True)
        self.made.mkdir(parents=True)
        return self.made

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self.made, ignore_errors=True)
            return
        for path in self.made.iterdir():
            flush(path)
        flush(self.made)
        shutil.rmtree(self.old, ignore_errors=True)
        if self.folder.exists():
            self.folder.rename(self.old)
        self.made.rename(self.folder)
        flush(self.folder.parent)
        shutil.rmtree(self.old, ignore_errors=True)
