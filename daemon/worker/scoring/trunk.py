"""A model in two parts: the trunk, from token ids to hidden states, and the head, from those to logits.

No class of mlx or mlx-lm is touched. A part is exchanged in a shallow copy of the modules that lead to it: they share
every weight with the model. The head is the model's own `__call__`, with a stand-in for the trunk that answers with
given hidden states, so that soft caps, scales and tied embeddings are as the architecture has them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.cache import _BaseCache

from prefd.daemon.worker.scoring import randomness
from prefd.daemon.worker.scoring.head import Head, Parameters
from prefd.daemon.worker.scoring.prefix import JoinedKV, OnArray, map_cache

CACHES = (JoinedKV, _BaseCache)

PATHS = (("model",), ("transformer",), ("backbone",), ("language_model", "model"), ("language_model", "backbone"))
"""Where mlx-lm's architectures keep the trunk."""


@dataclass(frozen=True)
class Parts:
    """Parts holds `model` with its trunk at `path`."""

    model: nn.Module
    path: tuple[str, ...]

    @property
    def trunk(self) -> nn.Module:
        """Return the part of the model from token ids to hidden states."""
        return get_submodule(self.model, self.path)

    @property
    def layers(self) -> list[nn.Module]:
        """Return the trunk's layers, in order."""
        layers: list[nn.Module] = self.trunk[find_layers_key(self.model, self.trunk)]
        return layers

    def head(self, vocabulary: int) -> Head:
        """Make the head: what the model does behind its trunk. Its trained parameters are those outside the layers."""
        prefix = ".".join(self.path)
        layers = f"{prefix}.{find_layers_key(self.model, self.trunk)}."

        def logits(hidden: mx.array) -> mx.array:
            return self.logits(hidden)

        def trained() -> Parameters:
            leaves = list_arrays(self.model.trainable_parameters())
            return {name: value for name, value in leaves if not name.startswith(layers)}

        def bound(parameters: Parameters) -> Callable[[mx.array], mx.array]:
            def bound_logits(hidden: mx.array) -> mx.array:
                with hold_parameters(self.model, parameters):
                    return self.logits(hidden)

            return bound_logits

        return Head(logits, vocabulary, trained, bound)

    def logits(self, hidden: mx.array) -> mx.array:
        """Compute (N, D) hidden states → (N, V) logits, by the model's own way."""
        model = replace_submodule(self.model, self.path, StandIn(self.trunk, hidden[None]))
        logits: mx.array = model(mx.zeros((1, len(hidden)), mx.int32))
        return logits.squeeze(0)  # and not logits[0], which is a copy

    def make_checkpointed_trunk(self) -> nn.Module:
        """Make a trunk whose layers keep only their input for the backward pass and run again there."""
        key = find_layers_key(self.model, self.trunk)
        trunk = copy.copy(self.trunk)
        trunk[key] = [Recomputed(layer) for layer in self.layers]
        return trunk


def find_parts(model: nn.Module) -> Iterator[Parts]:
    """Find where the trunk may be; whether it is there has to be tried."""
    for path in PATHS:
        try:
            find_layers_key(model, get_submodule(model, path))
        except (AttributeError, KeyError, TypeError):
            continue
        yield Parts(model, path)


def get_submodule(module: nn.Module, path: tuple[str, ...]) -> nn.Module:
    """Return the module at `path` inside `module`."""
    for name in path:
        module = module[name]
    return module


def replace_submodule(module: nn.Module, path: tuple[str, ...], replacement: Any) -> nn.Module:
    """Copy `module`, sharing everything with it but what is at `path`."""
    module_copy = copy.copy(module)
    module_copy[path[0]] = replacement if len(path) == 1 else replace_submodule(module[path[0]], path[1:], replacement)
    return module_copy


def replace_layers(parts: Parts, layers: Sequence[Any]) -> nn.Module:
    """Copy the model of `parts` with `layers` in place of its own, sharing everything else with it."""
    trunk = copy.copy(parts.trunk)
    trunk[find_layers_key(parts.model, parts.trunk)] = list(layers)
    return replace_submodule(parts.model, parts.path, trunk)


def find_layers_key(model: nn.Module, trunk: nn.Module) -> str:
    """Find the name under which `trunk` holds its layers. Raises KeyError when it holds none."""
    layers = getattr(model, "layers", None)
    for key, value in trunk.items():
        if isinstance(value, list) and value and (value is layers or key in ("layers", "h", "blocks")):
            return str(key)
    raise KeyError("layers")


class StandIn:
    """Answers any call with given hidden states; everything else is the trunk's."""

    def __init__(self, trunk: nn.Module, hidden: mx.array) -> None:
        self._trunk = trunk
        self._hidden = hidden

    def __call__(self, *_: Any, **__: Any) -> mx.array:
        """Return the given hidden states."""
        return self._hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trunk, name)


class Recomputed:
    """Recomputed is a layer that runs again in the backward pass, its caches' arrays passed in and out: the second run repeats the first."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the layer, keeping only its inputs for the backward pass."""
        parameters = dict(list_arrays(self._layer.trainable_parameters()))
        return _run_recomputed(self._layer, self._layer, parameters, args, kwargs)[0]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


def run_in_pieces(
    trunk: Callable[..., mx.array], module: nn.Module, pieces: Sequence[mx.array], keywords: dict[str, Any]
) -> mx.array:
    """Run `trunk` over each of `pieces` (B, T), one after another in the same caches: (B, ΣT, D) hidden states.

    For the backward pass it keeps each piece's inputs, and runs the piece again there.
    """
    parameters: Parameters = dict(list_arrays(module.trainable_parameters()))
    outputs = []
    for piece in pieces:
        hidden, parameters = _run_recomputed(trunk, module, parameters, (piece,), keywords)
        outputs.append(hidden)
    return mx.concatenate(outputs, axis=1)


def _run_recomputed(
    function: Callable[..., Any],
    module: nn.Module,
    parameters: Parameters,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, Parameters]:
    """Run `function(*args, **kwargs)`, keeping only its inputs for the backward pass, and run it again there.

    Gradients flow to `parameters`, those of `module` which `function` is made of, to floating-point arrays among the
    arguments, and through caches. A caller that uses the parameters again must take the ones returned: so their gradients
    are added up on the way, and not kept for each piece.
    """
    arrays = _collect_arrays((args, kwargs))
    # a copy: the caches go on after this, and the second run starts where the first did
    first_inputs = _replace_arrays((args, kwargs), arrays)
    random_state = randomness.read_state()
    results_of_run: list[Any] = []

    def run(*values: mx.array) -> list[mx.array]:
        parameter_values, inputs = values[: len(parameters)], values[len(parameters) :]
        args_of_run, kwargs_of_run = _replace_arrays(first_inputs, list(inputs))
        randomness.restore(random_state)  # the same dropout in both runs
        with hold_parameters(module, dict(zip(parameters, parameter_values))):
            output = function(*args_of_run, **kwargs_of_run)
        results_of_run[:] = output, collect_caches((args_of_run, kwargs_of_run))
        return [*parameter_values, *_collect_arrays(results_of_run)]

    results = _checkpoint(run, len(parameters))(*parameters.values(), *arrays)
    output, caches_after = _replace_arrays(results_of_run, results[len(parameters) :])
    for cache, cache_after in zip(collect_caches((args, kwargs)), caches_after):
        vars(cache).update(vars(cache_after))
    randomness.restore(randomness.derive_next(random_state))
    return output, dict(zip(parameters, results))


def _checkpoint(run: Callable[..., list[mx.array]], parameter_count: int) -> Callable[..., list[mx.array]]:
    """Make a `run` that keeps its inputs for the backward pass and runs again there; its first inputs are parameters.

    mx.checkpoint leaves the moment to the scheduler. Here `run` waits until the gradient has come so far, and nothing
    before it has its turn until the parameters' gradients are computed: else their inputs would pile up.
    """

    def run_backward(primals: list[mx.array], cotangents: list[mx.array], _: Any) -> list[mx.array]:
        gradients = mx.vjp(run, mx.depends(primals, cotangents), cotangents)[1]
        parameter_gradients, inputs = gradients[:parameter_count], gradients[parameter_count:]
        return [
            *parameter_gradients,
            *(mx.depends(inputs, parameter_gradients) if parameter_gradients and inputs else inputs),
        ]

    recomputing: Any = mx.custom_function(run)
    recomputing.vjp(run_backward)
    checkpointed_run: Callable[..., list[mx.array]] = recomputing
    return checkpointed_run


@contextmanager
def hold_parameters(module: nn.Module, parameters: Parameters) -> Iterator[None]:
    """Give `module` these values, by name, inside the block, and its own again after it."""
    original = dict(list_arrays(module.parameters()))
    module.update(tree_unflatten(list(parameters.items())))
    try:
        yield
    finally:
        module.update(tree_unflatten([(name, original[name]) for name in parameters]))


def list_arrays(tree: Any) -> list[tuple[str, mx.array]]:
    """List the arrays of a tree with their dotted names."""
    return tree_flatten(tree)  # type: ignore[return-value]  # typed for every kind of tree


def _collect_arrays(tree: Any) -> list[mx.array]:
    """Collect the floating-point arrays in `tree`, those in caches too."""
    arrays: list[mx.array] = []

    def note(array: mx.array) -> mx.array:
        arrays.append(array)
        return array

    _map_arrays(tree, note)
    return arrays


def _replace_arrays(tree: Any, arrays: list[mx.array]) -> Any:
    """Copy `tree` with `arrays` in place of those that `_collect_arrays` finds; its caches are copies."""
    remaining = iter(arrays)
    return _map_arrays(tree, lambda _: next(remaining))


def _map_arrays(tree: Any, on_array: OnArray) -> Any:
    if isinstance(tree, mx.array):
        return on_array(tree) if mx.issubdtype(tree.dtype, mx.floating) else tree
    if isinstance(tree, CACHES):
        return map_cache(tree, lambda array: _map_arrays(array, on_array))
    if type(tree) in (list, tuple):
        return type(tree)(_map_arrays(each, on_array) for each in tree)
    if type(tree) is dict:
        return {key: _map_arrays(each, on_array) for key, each in tree.items()}
    return tree


def collect_caches(tree: Any) -> list[Any]:
    """Collect the layers' caches in a tree of arguments."""
    if isinstance(tree, CACHES):
        return [tree]
    if type(tree) in (list, tuple, dict):
        return [cache for each in (tree.values() if type(tree) is dict else tree) for cache in collect_caches(each)]
    return []
