"""Saves and loads what a client names: a state to train on from, and an adapter as mlx-lm loads it.

A folder that is there is whole. It names the request that saved it, so a request that is done again after a crash finds its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefd.daemon.machine.files import read_json
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.live.policy import LivePolicy
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.outputs.adapter import WEIGHTS, write_adapter
from prefd.daemon.worker.outputs.published import Published, report_write_errors
from prefd.daemon.worker.scoring.trunk import list_arrays
from prefd.daemon.worker.training.checkpoint import (
    DamagedCheckpoint,
    load_optimizer,
    load_tensors,
    read_state,
    write_checkpoint,
)

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
SAVED = "saved.json"
"""The file in a sampler's folder that says which request saved it."""


def find_folder(parent: Path, name: str) -> Path:
    """Return the folder of the checkpoint `name` in `parent`. Raises `JobError` for what cannot be a name, such as a path."""
    if not NAME.fullmatch(name):
        raise JobError(f"{name!r} cannot name a checkpoint: use at most 128 letters, digits, '-', '_' and '.'")
    return parent / name


def save_state(
    folder: Path, policy: LivePolicy, source: ModelSource, origin: Mapping[str, Any], overwrite: bool
) -> None:
    """Save adapter and optimizer to `folder`. `origin` says which request asks; what it saved before stays.

    Raises `JobError` for a name that is there already.
    """
    if _is_to_be_written(folder, folder / "state.json", origin, overwrite):
        with report_write_errors("the state", folder):
            write_checkpoint(folder, policy.model, policy.optimizer, policy.fine_tune.adapter_config(source), origin)


def save_sampler(
    folder: Path, policy: LivePolicy, source: ModelSource, origin: Mapping[str, Any], overwrite: bool
) -> None:
    """Save the adapter to `folder`, as mlx-lm loads it. Otherwise as `save_state`."""
    if _is_to_be_written(folder, folder / SAVED, origin, overwrite):
        with report_write_errors("the adapter", folder), Published(folder) as partial:
            write_adapter(partial, policy.model, policy.fine_tune.adapter_config(source))
            (partial / SAVED).write_text(json.dumps(dict(origin)), encoding="utf-8")


def _is_to_be_written(folder: Path, record: Path, origin: Mapping[str, Any], overwrite: bool) -> bool:
    if not folder.exists():
        return True
    document = read_json(record)
    if isinstance(document, dict) and all(document.get(name) == value for name, value in origin.items()):
        return False
    if not overwrite:
        raise JobError(f"checkpoint {folder.name} is there already; take another name, or save with overwrite=True")
    return True


def load_state(folder: Path, policy: LivePolicy, with_optimizer: bool) -> dict[str, Any]:
    """Load the state in `folder` into `policy`, and return what was noted with it.

    Without its optimizer the policy's own begins anew. Raises `JobError` for a folder that holds no state of such a policy.
    """
    if not folder.is_dir():
        raise JobError(f"there is no checkpoint at {folder}")
    try:
        state = read_state(folder)
    except DamagedCheckpoint as damage:
        raise JobError(f"checkpoint {folder} is no whole state ({damage}); was it saved with save_state?") from damage
    arrays = load_tensors(folder / WEIGHTS)
    own = dict(list_arrays(policy.model.trainable_parameters()))
    own_shapes, shapes = ({name: value.shape for name, value in each.items()} for each in (own, arrays))
    if own_shapes != shapes:
        differing = sorted(name for name in own.keys() | arrays.keys() if own_shapes.get(name) != shapes.get(name))
        raise JobError(
            f"checkpoint {folder} is of another adapter: {len(differing)} arrays differ, such as {differing[0]} "
            f"({shapes.get(differing[0], 'not in it')} there, {own_shapes.get(differing[0], 'not in it')} here); "
            "give the rank and the modules that it was saved with"
        )
    policy.model.load_weights(list(arrays.items()), strict=False)
    if with_optimizer:
        load_optimizer(folder, policy.optimizer)
    else:
        policy.reset_optimizer()
    return state
