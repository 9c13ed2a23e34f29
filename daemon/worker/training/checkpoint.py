"""Saves and restores checkpoints: all that a training run goes on from.

Every folder is written beside and renamed, so a name that exists is whole. Optimizer state is in a file of its own:
mlx-lm refuses an adapters.safetensors that holds anything but adapter leaves. A disk may still damage what was written:
a checkpoint is believed only when every file has its checksum.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import mlx.core as mx
from mlx import nn
from mlx.optimizers import Optimizer
from mlx.utils import tree_flatten, tree_unflatten

from prefd.cache.segments.read_errors import raise_if_unreadable
from prefd.daemon.specs.model_files import list_files
from prefd.daemon.worker.outputs.adapter import WEIGHTS, write_adapter
from prefd.daemon.worker.outputs.published import Published
from prefd.plugins.errors import describe_exception

log = logging.getLogger(__name__)

OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"
Tensors = Mapping[str, Mapping[str, mx.array]]
"""File name → the arrays in it, by name."""
NO_TENSORS: Tensors = {}
PIECE_BYTES = 2**22
"""Bytes read at once."""


class DamagedCheckpoint(Exception):
    """A checkpoint is not what was written. The message is for the log, which says what was done about it."""


@dataclass(frozen=True)
class RestoredCheckpoint:
    """RestoredCheckpoint holds what a run goes on from: the step after which the checkpoint was saved, and the state that it kept."""

    step: int
    state: dict[str, Any]
    folder: Path
    """Where it is, for the tensors that were saved with it."""


@dataclass(frozen=True)
class Checkpoints:
    """Checkpoints holds the checkpoints of one run, one folder a step; the newest `keep` stay, and the best where there is one.

    While the run lasts two stay at least: the newest one's weights are only known to be good after the next step.
    """

    folder: Path
    keep: int

    def save(
        self,
        step: int,
        model: nn.Module,
        optimizer: Optimizer,
        config: Mapping[str, Any],
        state: Mapping[str, Any],
        best: int | None = None,
        tensors: Tensors = NO_TENSORS,
    ) -> None:
        """Save everything that step `step + 1` depends on besides the spec: adapter, optimizer state, `state`, and `tensors`."""
        write_checkpoint(self.path(step), model, optimizer, config, {"step": step, **state}, tensors)
        self.prune(max(self.keep, 2), best)

    def prune(self, keep: int, best: int | None) -> None:
        """Remove all but the newest `keep` and that of step `best`."""
        for old in self._list_folders()[:-keep]:
            if best is None or old != self.path(best):
                shutil.rmtree(old)

    def restore(self, model: nn.Module, optimizer: Optimizer) -> RestoredCheckpoint | None:
        """Load the newest whole checkpoint into both; None where there is none. Damaged ones are removed and logged."""
        for unfinished in self.folder.glob(".step-*"):  # of a process that was killed
            shutil.rmtree(unfinished)
        for folder in reversed(self._list_folders()):
            try:
                state = read_state(folder)
            except DamagedCheckpoint as damage:
                log.warning("checkpoint %s is damaged (%s): removed; going on from the one before it", folder, damage)
                shutil.rmtree(folder)
                continue
            model.load_weights(str(folder / WEIGHTS), strict=False)
            load_optimizer(folder, optimizer)
            return RestoredCheckpoint(parse_step(folder), state, folder)
        return None

    def load_best(self, step: int, model: nn.Module) -> bool:
        """Load the weights of step `step` into `model`; False, and a line in the log, where the checkpoint is damaged."""
        try:
            read_state(self.path(step))
        except DamagedCheckpoint as damage:
            log.warning(
                "the best checkpoint, of step %d, is damaged (%s): the adapter is the last step's", step, damage
            )
            return False
        model.load_weights(str(self.path(step) / WEIGHTS), strict=False)
        return True

    def path(self, step: int) -> Path:
        """Return the folder of the checkpoint of step `step`."""
        return self.folder / f"step-{step:08d}"

    def last_before(self, step: int) -> Path | None:
        """Return the newest checkpoint of a step before `step`, None where there is none."""
        return max((path for path in self._list_folders() if parse_step(path) < step), default=None)

    def _list_folders(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def write_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: Optimizer,
    config: Mapping[str, Any],
    state: Mapping[str, Any],
    tensors: Tensors = NO_TENSORS,
) -> None:
    """Publish a checkpoint at `folder`. `state.json` is written last, with the size and checksum of every file."""
    with Published(folder) as partial:
        write_adapter(partial, model, config)
        mx.save_safetensors(str(partial / OPTIMIZER_FILE), dict(tree_flatten(optimizer.state)))
        for name, arrays in tensors.items():
            mx.save_safetensors(str(partial / name), dict(arrays))
        document = {**state, "files": {path.name: seal_file(path) for path in list_files(partial, "*")}}
        (partial / STATE_FILE).write_bytes(add_seal(document))


def load_optimizer(folder: Path, optimizer: Optimizer) -> None:
    """Load the optimizer's state of the checkpoint at `folder`."""
    optimizer.state = tree_unflatten(list(load_tensors(folder / OPTIMIZER_FILE).items()))


def load_tensors(path: Path) -> dict[str, mx.array]:
    """Load the arrays of a safetensors file, by name."""
    arrays = mx.load(str(path))
    assert isinstance(arrays, dict)  # what safetensors give
    return arrays


def parse_step(folder: Path) -> int:
    """Return the step that a checkpoint's folder is named after."""
    return int(folder.name.removeprefix("step-"))


def make_seal(content: bytes) -> list[int]:
    """Return the seal of a file's `content`: its size and crc32c."""
    return [len(content), int(google_crc32c.value(content))]


def seal_file(path: Path, piece_bytes: int = PIECE_BYTES) -> list[int]:
    """Compute the seal of a file, a piece of it in memory at a time: an optimizer's state may be as large as that is."""
    size, crc = 0, 0
    with path.open("rb") as file:
        while piece := file.read(piece_bytes):
            size, crc = size + len(piece), google_crc32c.extend(crc, piece)
    return [size, int(crc)]


def add_seal(document: Mapping[str, Any]) -> bytes:
    """Write `document` as JSON with a seal of its own."""
    return json.dumps(
        {**document, "seal": make_seal(json.dumps(document, sort_keys=True).encode())}, sort_keys=True
    ).encode()


def read_state(folder: Path) -> dict[str, Any]:
    """Read the state in the checkpoint at `folder`.

    Raises `DamagedCheckpoint` where any file is not as it was written, and OSError for what says nothing about the files:
    a right that is missing, or too many open files.
    """
    try:
        content = (folder / STATE_FILE).read_bytes()
        document: dict[str, Any] = json.loads(content)
        del document["seal"]
        if add_seal(document) != content:
            raise DamagedCheckpoint(f"{STATE_FILE} is not what was written")
        for name, expected in document["files"].items():
            if seal_file(folder / name) != expected:
                raise DamagedCheckpoint(f"{name} is not what was written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise_if_unreadable(error)
        raise DamagedCheckpoint(describe_exception(error)) from error
    return document
