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
from prefd.daemon.worker.scoring.prefix import JoinedKV, OnArray, mapped

CACHES = (JoinedKV, _BaseCache)

PATHS = (("model",), ("transformer",), ("backbone",), ("language_model", "model"), ("language_model", "backbone"))
"""Where mlx-lm's architectures keep the trunk."""


@dataclass(frozen=True)
class Parts:
    """`model` with its trunk at `path`."""

    model: nn.Module
    path: tuple[str, ...]

    @property
    def trunk(self) -> nn.Module:
        return at(self.model, self.path)

    def head(self, vocabulary: int) -> Head:
        """What the model does behind its trunk; what is trained there is everything outside the layers."""
        prefix = ".".join(self.path)
        layers = f"{prefix}.{_layers_key(self.model, self.trunk)}."

        def logits(hidden: mx.array) -> mx.array:
            return self.logits(hidden)

        def trained() -> Parameters:
            leaves = named(self.model.trainable_parameters())
            return {name: value for name, value in leaves if not name.startswith(layers)}

        def bound(parameters: Parameters) -> Callable[[mx.array], mx.array]:
            def of(hidden: mx.array) -> mx.array:
                with replaced_parameters(self.model, parameters):
                    return self.logits(hidden)

            return of

        return Head(logits, vocabulary, trained, bound)

    def logits(self, hidden: mx.array) -> mx.array:
        """(N, D) → (N, V), by the model's own way from hidden states to logits."""
        model = exchanged(self.model, self.path, StandIn(self.trunk, hidden[None]))
        made: mx.array = model(mx.zeros((1, len(hidden)), mx.int32))
        return made[0]

    def checkpointed(self) -> nn.Module:
        """The trunk, each layer of which keeps only its input for the backward pass and runs again there."""
        key = _layers_key(self.model, self.trunk)
        made = copy.copy(self.trunk)
        made[key] = [Recomputed(layer) for layer in self.trunk[key]]
        return made


def candidates(model: nn.Module) -> Iterator[Parts]:
    """Where the trunk may be; whether it is has to be tried."""
    for path in PATHS:
        try:
            _layers_key(model, at(model, path))
        except (AttributeError, KeyError, TypeError):
            continue
        yield Parts(model, path)


def at(module: nn.Module, path: tuple[str, ...]) -> nn.Module:
    for name in path:
        module = module[name]
    return module


def exchanged(module: nn.Module, path: tuple[str, ...], part: Any) -> nn.Module:
    """A copy of `module`, sharing everything with it but what is at `path`."""
    made = copy.copy(module)
    made[path[0]] = part if len(path) == 1 else exchanged(module[path[0]], path[1:], part)
    return made


def _layers_key(model: nn.Module, trunk: nn.Module) -> str:
    """The name under which `trunk` holds its layers. Raises KeyError when it holds none."""
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
        return self._hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trunk, name)


class Recomputed:
    """A layer that runs again in the backward pass, its caches' arrays passed in and out: the second run repeats the first."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        parameters = dict(named(self._layer.trainable_parameters()))
        return _recomputed(self._layer, self._layer, parameters, args, kwargs)[0]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


def in_pieces(
    trunk: Callable[..., mx.array], module: nn.Module, pieces: Sequence[mx.array], known: dict[str, Any]
) -> mx.array:
    """`trunk` over each of `pieces` (B, T), after one another in the same caches: (B, ΣT, D) hidden states.

    For the backward pass it keeps each piece's inputs, and runs the piece again there.
    """
    parameters: Parameters = dict(named(module.trainable_parameters()))
    made = []
    for piece in pieces:
        hidden, parameters = _recomputed(trunk, module, parameters, (piece,), known)
        made.append(hidden)
    return mx.concatenate(made, axis=1)


def _recomputed(
    function: Callable[..., Any],
    module: nn.Module,
    parameters: Parameters,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, Parameters]:
    """`function(*args, **kwargs)` that keeps its inputs for the backward pass, and runs again there.

    Gradients flow to `parameters`, those of `module` which `function` is made of, to floating-point arrays among the
    arguments, and through caches. Who uses the parameters again takes those that come back: so their gradients are
    added up on the way, and not kept for each piece.
    """
    arrays = _gathered((args, kwargs))
    given = _with((args, kwargs), arrays)  # the caches go on after this, and the second run starts where the first did
    random = randomness.state()
    made: list[Any] = []

    def run(*values: mx.array) -> list[mx.array]:
        own, inputs = values[: len(parameters)], values[len(parameters) :]
        arguments, keywords = _with(given, list(inputs))
        randomness.restore(random)  # the same dropout in both runs
        with replaced_parameters(module, dict(zip(parameters, own))):
            out = function(*arguments, **keywords)
        made[:] = out, _caches((arguments, keywords))
        return [*own, *_gathered(made)]

    results = _kept_only(run, len(parameters))(*parameters.values(), *arrays)
    out, after = _with(made, results[len(parameters) :])
    for cache, left in zip(_caches((args, kwargs)), after):
        vars(cache).update(vars(left))
    randomness.restore(randomness.following(random))
    return out, dict(zip(parameters, results))


def _kept_only(run: Callable[..., list[mx.array]], parameters: int) -> Callable[..., list[mx.array]]:
    """`run`, which keeps its inputs for the backward pass and runs again there. The first `parameters` of them are such.

    mx.checkpoint leaves it to the scheduler when that is. Here it is when the gradient has come so far, and nothing
    before it has its turn until the parameters' gradients are there: else what they are made of would pile up.
    """

    def pulled(primals: list[mx.array], cotangents: list[mx.array], _: Any) -> list[mx.array]:
        slopes = mx.vjp(run, mx.depends(primals, cotangents), cotangents)[1]
        own, inputs = slopes[:parameters], slopes[parameters:]
        return [*own, *(mx.depends(inputs, own) if own and inputs else inputs)]

    kept: Any = mx.custom_function(run)
    kept.vjp(pulled)
    made: Callable[..., list[mx.array]] = kept
    return made


@contextmanager
def replaced_parameters(module: nn.Module, parameters: Parameters) -> Iterator[None]:
    """`module` with these values, by name, in place of its own."""
    own = dict(named(module.parameters()))
    module.update(tree_unflatten(list(parameters.items())))
    try:
        yield
    finally:
        module.update(tree_unflatten([(name, own[name]) for name in parameters]))


def named(tree: Any) -> list[tuple[str, mx.array]]:
    return tree_flatten(tree)  # type: ignore[return-value]  # typed for every kind of tree


def _gathered(tree: Any) -> list[mx.array]:
    """The floating-point arrays in `tree`, those in caches with them."""
    found: list[mx.array] = []

    def note(array: mx.array) -> mx.array:
        found.append(array)
        return array

    _each(tree, note)
    return found


def _with(tree: Any, arrays: list[mx.array]) -> Any:
    """`tree` with `arrays` in place of those that `_gathered` finds; its caches are copies."""
    remaining = iter(arrays)
    return _each(tree, lambda _: next(remaining))


def _each(tree: Any, on_array: OnArray) -> Any:
    if isinstance(tree, mx.array):
        return on_array(tree) if mx.issubdtype(tree.dtype, mx.floating) else tree
    if isinstance(tree, CACHES):
        return mapped(tree, lambda array: _each(array, on_array))
    if type(tree) in (list, tuple):
        return type(tree)(_each(each, on_array) for each in tree)
    if type(tree) is dict:
        return {key: _each(each, on_array) for key, each in tree.items()}
    return tree


def _caches(tree: Any) -> list[Any]:
    if isinstance(tree, CACHES):
        return [tree]
    if type(tree) in (list, tuple, dict):
        return [cache for each in (tree.values() if type(tree) is dict else tree) for cache in _caches(each)]
    return []
