"""StepKeeper keeps the state after each step in memory that outlives the worker, so that its death costs a step and not a checkpoint's age.

A disk would wear from it. What is kept is what a checkpoint keeps, so a run that goes on from it ends as the unbroken one does.
Small states, as those of adapters are, are kept after every step. Others are kept where there is room besides training,
and as often as takes a fiftieth of the time.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt
from mlx import nn
from mlx.optimizers import Optimizer
from mlx.utils import tree_flatten, tree_unflatten

from prefd.daemon.runs.step_memory import SLOTS, BadSeal, SlotWriter, StateTooLarge, StepMemory, verify_rescued
from prefd.daemon.worker.models.memory import count_bytes, format_gib, machine
from prefd.daemon.worker.training.checkpoint import RestoredCheckpoint

log = logging.getLogger(__name__)

SMALL_SHARE = 0.05
"""A share of memory: what is kept counts as small up to it."""
TIME_SHARE = 0.02
"""The share of training's time that keeping a large state may take."""
MODEL, OPTIMIZER, SCORES, STATE = "model.", "optimizer.", "scores.", "state"
NAME_BYTES = 512
"""More than a name and a shape take in a file of tensors."""
STATE_BYTES = 2**17
"""More than the state besides the tensors takes."""
SCORE_BYTES = 2**22
"""Room for the scores of a live reference that are in no checkpoint yet."""
Scores = Mapping[bytes, npt.NDArray[np.float32]]
"""Key of a completion → its log-probabilities under the reference."""
NO_SCORES: Scores = {}


def count_kept_bytes(model: nn.Module, optimizer_state: Any) -> int:
    """Count the bytes in which the states of a step and of the one before are kept."""
    return SLOTS * (count_bytes(model.trainable_parameters()) + count_bytes(optimizer_state))


def count_score_bytes(scores: Scores) -> int:
    """Count the bytes in which `scores` are kept, with their names."""
    return sum(NAME_BYTES + values.nbytes for values in scores.values())


def is_small(kept_bytes: int, parallel: int = 1) -> bool:
    """Say whether so many bytes are few beside this machine's memory, which `parallel` jobs share."""
    return kept_bytes <= SMALL_SHARE * machine()[0] / parallel


@dataclass(frozen=True)
class RescuedStep(RestoredCheckpoint):
    """RescuedStep holds what a run goes on from whose worker died: as after a checkpoint, and what a live reference had scored since one."""

    scores: Scores


@dataclass
class StepKeeper:
    """StepKeeper keeps the states of one run's steps in `memory`; without it, it keeps none."""

    memory: StepMemory | None = None
    every_step: bool = True
    """Whether each step is kept, whatever that takes of the time."""
    is_reserved: bool = False
    due: int = 0
    """The step from which on the next one is kept."""
    longest: int = 1
    """The most steps between two that were kept, this one counted."""

    def keep(
        self,
        step: int,
        model: nn.Module,
        optimizer: Optimizer,
        state: Mapping[str, Any],
        step_seconds: float,
        scores: Scores = NO_SCORES,
    ) -> None:
        """Keep the state after `step`, which took `step_seconds`, where that is due. What cannot be kept is told, and no error."""
        if self.memory is None or step < self.due:
            return
        began = time.monotonic()
        tensors = {MODEL + name: value for name, value in _flatten(model.trainable_parameters()).items()}
        tensors |= {OPTIMIZER + name: value for name, value in _flatten(optimizer.state).items()}
        capacity = count_bytes(tensors) + NAME_BYTES * len(tensors) + STATE_BYTES + SCORE_BYTES
        tensors |= {SCORES + key.hex(): mx.array(values) for key, values in scores.items()}
        metadata = {STATE: json.dumps({"step": step, **state})}

        def fill(slot: SlotWriter) -> None:
            mx.save_safetensors(slot, tensors, metadata)  # type: ignore[arg-type]  # any object that can write

        try:
            if not self.is_reserved:
                self.memory.reserve(capacity)
                self.is_reserved = True
            self.memory.write(step, fill)
        except (OSError, StateTooLarge) as error:
            log.warning("the state after step %d is not kept in memory: %s; checkpoints are", step, error)
            self.memory = None
            return
        if not self.every_step:
            self._put_off(step, time.monotonic() - began, step_seconds)

    def _put_off(self, step: int, seconds: float, step_seconds: float) -> None:
        """Choose the next step to keep, by how long it took to keep this one."""
        steps = max(1, math.ceil(seconds / (TIME_SHARE * step_seconds)) if step_seconds else 1)
        self.due = step + steps
        if steps > self.longest:
            self.longest = steps
            log.info("the state is kept in memory after every %d steps: that takes %.2g s", steps, seconds)

    def describe(self) -> str | None:
        """Tell the job's owner what a worker that is killed would cost, where that is more than a step; None where it is not."""
        if self.longest == 1:
            return None
        return (
            f"the state of this training is large, so it is kept in memory after every {self.longest} steps only: a worker that "
            "is killed repeats up to as many"
        )


def choose_keeper(
    memory: StepMemory | None, kept_bytes: int, spare_bytes: int, parallel: int
) -> tuple[StepKeeper, str | None]:
    """Choose whether, and how often, `kept_bytes` are kept in `memory`, where training leaves `spare_bytes`.

    Returns what the job's owner is told of it, too; None is nothing.
    """
    if memory is None or is_small(kept_bytes, parallel):
        return StepKeeper(memory), None
    if kept_bytes <= spare_bytes:
        return StepKeeper(memory, every_step=False), None
    return StepKeeper(), (
        f"the state after a step is not kept in memory, for it would take {format_gib(kept_bytes)} that training leaves no room "
        "for: a worker that is killed goes back to its last checkpoint (training.save_every, training.save_minutes)"
    )


def restore_rescued(path: Path, model: nn.Module, optimizer: Optimizer, after: int, owner: str) -> RescuedStep | None:
    """Load the state that outlived a worker of the job `owner` into both; None where there is none of a later step than `after`."""
    if not path.exists():
        return None
    try:
        step = verify_rescued(path)
    except BadSeal as error:
        log.warning("%s is damaged (%s): going on from the last checkpoint", path, error)
        return None
    if step <= after:
        return None
    loaded: Any = mx.load(str(path), "safetensors", return_metadata=True)
    tensors, metadata = loaded
    state: dict[str, Any] = json.loads(metadata[STATE])
    if state.get("job", "") != owner:
        log.warning("%s is of another job (%s): going on from the last checkpoint", path, state.get("job"))
        return None
    model.load_weights(_strip(tensors, MODEL), strict=False)
    optimizer.state = tree_unflatten(_strip(tensors, OPTIMIZER))
    mx.eval(model.trainable_parameters(), optimizer.state)  # before the file is deleted
    scores = {bytes.fromhex(name): np.array(values) for name, values in _strip(tensors, SCORES)}
    return RescuedStep(step, state, path, scores)


def _flatten(tree: Any) -> dict[str, mx.array]:
    return dict(tree_flatten(tree))


def _strip(tensors: Mapping[str, mx.array], prefix: str) -> list[tuple[str, mx.array]]:
    """List the tensors whose names begin with `prefix`, without it."""
    return [(name.removeprefix(prefix), value) for name, value in tensors.items() if name.startswith(prefix)]
