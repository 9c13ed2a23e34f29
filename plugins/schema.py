"""Reads a loss's parameters off the loss itself, and checks the values that a spec gives them.

A dataclass's fields, or a function's keyword-only arguments, are the schema: name, type, default and, through
`Annotated[float, Range(above=0)]`, bounds. As JSON it reaches the daemon, which has neither mlx nor plugins.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import operator
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prefd.plugins.errors import PluginError

TYPES: dict[type, str] = {float: "number", int: "integer", bool: "boolean", str: "string"}
RESERVED = ("name", "weight")
SLIP = 0.8
"""How alike a misspelt name and the right one are, at least."""
BOUNDS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "exclusiveMinimum": (operator.gt, "above"),
    "exclusiveMaximum": (operator.lt, "below"),
    "minimum": (operator.ge, "at least"),
    "maximum": (operator.le, "at most"),
}


@dataclass(frozen=True)
class Range:
    """Bounds of a loss parameter, as in `beta: Annotated[float, Range(above=0)] = 0.1`."""

    above: float | None = None
    below: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    def to_json(self) -> dict[str, float]:
        """The bounds in JSON Schema's words."""
        bounds = {
            "exclusiveMinimum": self.above,
            "exclusiveMaximum": self.below,
            "minimum": self.at_least,
            "maximum": self.at_most,
        }
        return {name: bound for name, bound in bounds.items() if bound is not None}


class LossDefinitionError(PluginError, TypeError):
    """A loss that cannot be registered. The message tells its author what to change in it."""


@dataclass(frozen=True)
class LossSchema:
    """What a spec's `loss:` block may say for one loss."""

    params: Mapping[str, Mapping[str, Any]]
    """For each parameter, a JSON Schema of one value: `type`, `default` and bounds."""
    needs_reference: bool
    doc: str
    batch_independent: bool = True
    preference: bool = True

    @property
    def summary(self) -> str:
        """The first line of the loss's docstring."""
        return self.doc.partition("\n")[0]

    def to_json(self) -> dict[str, Any]:
        """The schema as the daemon reads it."""
        return dataclasses.asdict(self) | {"summary": self.summary}


def schema_of(name: str, loss: Callable[..., Any]) -> LossSchema:
    """Reads the schema of `loss`. Raises `LossDefinitionError` when it is neither a dataclass nor a documented function."""
    if isinstance(loss, type) and not dataclasses.is_dataclass(loss):
        raise LossDefinitionError(f"loss {name!r}: {loss.__qualname__} must be a dataclass; its fields are the schema")
    doc = inspect.getdoc(loss) if callable(loss) else None
    written_by_dataclass = isinstance(loss, type) and doc is not None and doc.startswith(f"{loss.__name__}(")
    if not doc or written_by_dataclass:
        raise LossDefinitionError(f"loss {name!r} needs a docstring: `prefd losses {name}` shows it")
    if isinstance(loss, type):
        defaults = {field.name: field.default for field in dataclasses.fields(loss)}
        hints = typing.get_type_hints(loss, include_extras=True)
    else:
        arguments = inspect.signature(loss).parameters.values()
        keyword = [argument for argument in arguments if argument.kind is argument.KEYWORD_ONLY]
        defaults = {argument.name: argument.default for argument in keyword}
        hints = _read_hints(loss, defaults)
    params = {
        field: _describe_parameter(name, field, hints.get(field, Any), default) for field, default in defaults.items()
    }
    declared = {
        name: bool(getattr(loss, name, True)) for name in ("needs_reference", "batch_independent", "preference")
    }
    return LossSchema(params, doc=doc, **declared)


def _read_hints(function: Callable[..., Any], names: Mapping[str, Any]) -> dict[str, Any]:
    if not names:  # the other arguments' hints may name types that exist for type checkers only
        return {}
    return typing.get_type_hints(function, include_extras=True)


def _describe_parameter(loss: str, name: str, hint: Any, default: Any) -> dict[str, Any]:
    where = f"loss {loss!r}, parameter {name!r}"
    if name in RESERVED:
        raise LossDefinitionError(f"{where}: the spec's `loss:` block uses {name!r} itself; choose another word")
    kind: Any = hint
    bounds: dict[str, float] = {}
    if typing.get_origin(hint) is typing.Annotated:
        kind, *notes = typing.get_args(hint)
        for note in notes:
            bounds |= note.to_json() if isinstance(note, Range) else {}
    if kind not in TYPES:
        raise LossDefinitionError(f"{where}: its type must be one of float, int, bool, str; got {hint!r}")
    if default in (dataclasses.MISSING, inspect.Parameter.empty):
        raise LossDefinitionError(f"{where}: it needs a default, so that a spec may leave it out")
    return {"type": TYPES[kind], "default": default} | bounds


def problems(params: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Finds what is wrong with `values` under the schema `params`: (parameter, what to do about it) for each fault."""
    faults = []
    for name, value in values.items():
        if name not in params:
            near = difflib.get_close_matches(name, params, n=1, cutoff=SLIP)  # `delta` is no slip of `beta`
            remedy = f"did you mean {near[0]}?" if near else f"known: {', '.join(params) or 'none'}"
            faults.append((name, f"unknown parameter; {remedy}"))
        elif fault := _find_fault(params[name], value):
            faults.append((name, fault))
    return faults


def _find_fault(param: Mapping[str, Any], value: Any) -> str | None:
    if not _has_type(param["type"], value):
        return f"expected {_add_article(param['type'])}, got {value!r}"
    for word, (holds, phrase) in BOUNDS.items():
        if word in param and not holds(value, param[word]):
            return f"must be {phrase} {param[word]:g}, got {value!r}"
    return None


def _has_type(kind: str, value: Any) -> bool:
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, bool if kind == "boolean" else str)


def _add_article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
