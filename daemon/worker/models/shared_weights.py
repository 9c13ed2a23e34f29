"""Puts another adapter, or none, on a base model that is in memory already: its weights are there once, for every job that computes with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.adapters import list_adapted_modules
from prefd.daemon.worker.models.loading import load_lazily
from prefd.daemon.worker.models.source import ModelSource, read_adapter


def load_beside(source: ModelSource, owner: nn.Module) -> nn.Module:
    """Load `source`, whose base is that of `owner`, onto the weights that `owner` has in memory; frozen, in evaluation mode.

    Raises `JobError` where its adapter does not fit, or changes the base itself.
    """
    if source.adapter is not None and (kind := read_adapter(source.adapter).fine_tune_type) == "full":
        raise JobError(
            f"adapter {source.adapter} is {kind}: whole weights of its own, which would be a second model in memory; "
            "name an adapter of LoRA or DoRA"
        )
    view = load_lazily(source)
    share_weights(view, owner)
    return view.freeze()


def share_weights(view: nn.Module, owner: nn.Module) -> None:
    """Have `view` compute with the very arrays of `owner`, all but those of adapters, which each has of its own."""
    arrays = {base: array for base, _, array in _list_base_arrays(owner)}
    view.update(tree_unflatten([(name, arrays[base]) for base, name, _ in _list_base_arrays(view)]))


def _list_base_arrays(model: nn.Module) -> Iterator[tuple[str, str, mx.array]]:
    """Yield each array of the base model: the name that it has where no adapter is on, its name here, and the array."""
    wrapped = {path: "linear" if "linear" in module else "embedding" for path, module in list_adapted_modules(model)}
    leaves: Any = tree_flatten(model.parameters())
    for name, array in leaves:
        path, _, leaf = name.rpartition(".")
        outer, _, place = path.rpartition(".")
        if path not in wrapped:  # or it is the adapter's own
            yield f"{outer}.{leaf}" if wrapped.get(outer) == place else name, name, array
