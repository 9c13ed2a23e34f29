"""Reads a loss's parameters off the loss itself, and checks the values that a spec gives them.

A dataclass's fields, or a function's keyword-only arguments, are the schema: name, type, default and, through
`Annotated[float, Range(above=0), "how strong it is"]`, bounds and a description. As JSON it reaches the daemon, which has
neither mlx nor plugins.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import operator
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from prefd.plugins.errors import PluginError, describe_exception

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
    """Bounds of a loss parameter, as in `beta: Annotated[float, Range(above=0), "how strong it is"] = 0.1`."""

    above: float | None = None
    below: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    def to_json(self) -> dict[str, float]:
        """Returns the bounds in JSON Schema's words."""
        bounds = {
            "exclusiveMinimum": self.above,
            "exclusiveMaximum": self.below,
            "minimum": self.at_least,
            "maximum": self.at_most,
        }
        return {name: bound for name, bound in bounds.items() if bound is not None}


class LossDefinitionError(PluginError, TypeError):
    """LossDefinitionError is raised for a loss that cannot be registered. The message tells its author what to change in it."""


@dataclass(frozen=True)
class LossSchema:
    """LossSchema says what a spec's `loss:` block may say for one loss."""

    params: Mapping[str, Mapping[str, Any]]
    """For each parameter, a JSON Schema of one value: `type`, `default`, bounds and, where it says one, `description`."""
    needs_reference: bool
    doc: str
    batch_independent: bool = True
    preference: bool = True
    unpaired: bool = False
    """Whether it learns from single answers with a label, and not from pairs."""
    needs_distribution: bool = False
    """Whether it looks at `Logprobs.distribution` of the policy."""
    purpose: str = ""
    """When to use the loss, in a few words; empty where it does not say."""

    @property
    def summary(self) -> str:
        """Returns the first line of the loss's docstring."""
        return self.doc.partition("\n")[0]

    def to_json(self) -> dict[str, Any]:
        """Returns the schema as the daemon reads it."""
        return dataclasses.asdict(self) | {"summary": self.summary}


def schema_of(name: str, loss: Callable[..., Any]) -> LossSchema:
    """Reads the schema of `loss`. Raises `LossDefinitionError` when it is neither a dataclass nor a documented function."""
    if isinstance(loss, type) and not dataclasses.is_dataclass(loss):
        raise LossDefinitionError(f"loss {name!r}: {loss.__qualname__} must be a dataclass; its fields are the schema")
    doc = inspect.getdoc(loss) if callable(loss) else None
    written_by_dataclass = isinstance(loss, type) and doc is not None and doc.startswith(f"{loss.__name__}(")
    if not doc or written_by_dataclass:
        raise LossDefinitionError(f"loss {name!r} needs a docstring: `prefd losses {name}` shows it")
    parameters = _list_fields(name, loss) if isinstance(loss, type) else _list_keywords(loss)
    params = {each.name: _describe_parameter(name, each) for each in parameters}
    declared = {
        name: bool(getattr(loss, name, True)) for name in ("needs_reference", "batch_independent", "preference")
    }
    declared |= {name: bool(getattr(loss, name, False)) for name in ("unpaired", "needs_distribution")}
    return LossSchema(params, doc=doc, purpose=str(getattr(loss, "purpose", "")), **declared)


@dataclass(frozen=True)
class _Parameter:
    """A parameter as its loss's source has it."""

    name: str
    annotation: Any
    """A type, or the source of one: `from __future__ import annotations` and quotes leave that."""
    default: Any
    namespace: Mapping[str, Any]
    """The names that `annotation` may use."""


def _list_fields(loss_name: str, loss: type) -> list[_Parameter]:
    """List the fields of a dataclass. Only their own annotations count: others may name types that type checkers alone see."""
    parameters = []
    for field in dataclasses.fields(loss):
        where = f"loss {loss_name!r}, parameter {field.name!r}"
        if not field.init:
            raise LossDefinitionError(f"{where}: a spec could not set it (init=False); make it a ClassVar")
        default: Any = field.default
        if field.default_factory is not dataclasses.MISSING:
            try:
                default = field.default_factory()
            except Exception as error:
                raise LossDefinitionError(f"{where}: its default_factory raised {describe_exception(error)}") from error
        owner = next(each for each in loss.__mro__ if field.name in inspect.get_annotations(each))
        module = sys.modules.get(owner.__module__)
        namespace = (vars(module) if module is not None else {}) | dict(vars(owner))
        annotation = inspect.get_annotations(owner)[field.name]
        parameters.append(_Parameter(field.name, annotation, default, namespace))
    return parameters


def _list_keywords(function: Callable[..., Any]) -> list[_Parameter]:
    """List the keyword-only arguments of a function."""
    namespace = getattr(inspect.unwrap(function), "__globals__", {})
    return [
        _Parameter(argument.name, argument.annotation, argument.default, namespace)
        for argument in inspect.signature(function).parameters.values()
        if argument.kind is argument.KEYWORD_ONLY
    ]


def _resolve_annotation(where: str, parameter: _Parameter) -> Any:
    """Return the type that an annotation means."""
    if parameter.annotation is inspect.Parameter.empty:
        return Any
    holder = SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return typing.get_type_hints(holder, dict(parameter.namespace), include_extras=True)[parameter.name]
    except Exception as error:
        raise LossDefinitionError(
            f"{where}: its type {parameter.annotation!r} cannot be resolved ({describe_exception(error)}); "
            "import what it names at the top of the module, not under TYPE_CHECKING"
        ) from error


def _describe_parameter(loss: str, parameter: _Parameter) -> dict[str, Any]:
    name, default = parameter.name, parameter.default
    where = f"loss {loss!r}, parameter {name!r}"
    if name in RESERVED:
        raise LossDefinitionError(f"{where}: the spec's `loss:` block uses {name!r} itself; choose another word")
    hint = kind = _resolve_annotation(where, parameter)
    bounds: dict[str, float] = {}
    description: dict[str, str] = {}
    if typing.get_origin(hint) is typing.Annotated:
        kind, *notes = typing.get_args(hint)
        for note in notes:
            bounds |= note.to_json() if isinstance(note, Range) else {}
            description |= {"description": note} if isinstance(note, str) else {}
    if kind not in TYPES:
        raise LossDefinitionError(f"{where}: its type must be one of float, int, bool, str; got {hint!r}")
    if default in (dataclasses.MISSING, inspect.Parameter.empty):
        raise LossDefinitionError(f"{where}: it needs a default, so that a spec may leave it out")
    param = {"type": TYPES[kind], "default": default} | bounds | description
    is_unbounded = kind is float and isinstance(default, float) and math.isinf(default)  # it means: no limit
    if fault := _find_fault_in_bounds(param, default) if is_unbounded else _find_fault(param, default):
        raise LossDefinitionError(f"{where}: the default of {name} {fault}")
    return param


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
    return _find_fault_in_bounds(param, value)


def _find_fault_in_bounds(param: Mapping[str, Any], value: Any) -> str | None:
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
