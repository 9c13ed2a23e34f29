"""Checks whether a loss keeps what the trainer relies on, by calling it with made-up batches.

A plugin's own tests call `assert_conforms(MyLoss)`; at the terminal it is `prefd check-loss NAME`. Each check
(`checks.py`) is tried with the loss's defaults and with every parameter moved within its range. A check shows that a
loss is broken; none shows that it is the formula you meant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mlx.core as mx

from prefd.plugins.conformance.checks import CHECKS, Fault, Finding, Function, Subject
from prefd.plugins.errors import describe_exception
from prefd.plugins.schema import LossDefinitionError, LossSchema, problems, schema_of
from prefd.plugins.types import Loss
from prefd.plugins.unpaired import adapt

__all__ = ["CHECKS", "Finding", "assert_conforms", "check_loss"]

MAY_BE_UNCHECKED = ("gradient", "reference")


def assert_conforms(loss: Loss, name: str = "loss") -> None:
    """Raises AssertionError with all that is wrong with `loss`, and by which check."""
    failed = [f"{each.check}: {each.detail}" for each in check_loss(loss, name) if each.result == "failed"]
    if failed:
        raise AssertionError(f"{name} does not conform:\n" + "\n".join(failed))


def check_loss(loss: Loss, name: str = "loss") -> list[Finding]:
    """Runs every check on `loss` and returns a finding for each, in order. Its exceptions are findings too."""
    try:
        subject = _prepare(loss, name)
    except Exception as error:  # noqa: BLE001  # a stranger's code: whatever it raises is the finding
        is_explained = isinstance(error, Fault | LossDefinitionError)
        fault = str(error) if is_explained else _describe_exception(error)
        untried = [Finding(check, "not tried", "the definition comes first") for check in CHECKS]
        return [Finding("definition", "failed", fault), *untried]
    findings = [Finding("definition", "ok", f"{len(subject.settings)} settings to try")]
    with mx.stream(mx.cpu):  # float64 is there only
        for check, run in CHECKS.items():
            if check in subject.unchecked:
                findings.append(Finding(check, "declared", f"left out by the loss: {subject.unchecked[check]}"))
            elif any(each.check == "shapes" and each.result == "failed" for each in findings):
                findings.append(Finding(check, "not tried", "the shapes come first"))
            else:
                findings.append(_try(check, run, subject))
    return findings


def _try(check: str, run: Callable[[Subject], Finding | str], subject: Subject) -> Finding:
    """Runs one check, and makes a finding of its answer or its exception."""
    try:
        finding = run(subject)
    except Fault as fault:
        return Finding(check, "failed", str(fault))
    except Exception as error:  # noqa: BLE001  # a stranger's code: whatever it raises is the finding
        return Finding(check, "failed", _describe_exception(error))
    return finding if isinstance(finding, Finding) else Finding(check, "ok", finding)


def _describe_exception(error: Exception) -> str:
    return f"it raised {describe_exception(error)}"


def _prepare(loss: Loss, name: str) -> Subject:
    """Makes the loss with each setting that is tried. Raises Fault or LossDefinitionError."""
    schema = schema_of(name, loss)
    unchecked = dict(getattr(loss, "unchecked", {}))
    if unknown := sorted(unchecked.keys() - set(MAY_BE_UNCHECKED)):
        raise Fault(f"`unchecked` names {', '.join(unknown)}; only {' and '.join(MAY_BE_UNCHECKED)} may be left out")
    defaults = {param: each["default"] for param, each in schema.params.items()}
    if faults := problems(schema.params, defaults):
        raise Fault("; ".join(f"the default of {param} {message}" for param, message in faults))
    settings = []
    for params in ({}, *_vary_parameters(schema)):
        try:
            bound: Callable[[Any], Any] = loss(**params) if isinstance(loss, type) else _bind(loss, params)
            instance = adapt(bound) if schema.unpaired else bound
        except ValueError:
            if not params:
                raise
            continue  # it may refuse a combination that the ranges cannot express
        settings.append((", ".join(f"{param}={value}" for param, value in params.items()) or "its defaults", instance))
    return Subject(schema, settings, unchecked)


def _bind(function: Callable[..., Any], params: Mapping[str, Any]) -> Function:
    return lambda x: function(x, **params)


def _vary_parameters(schema: LossSchema) -> list[dict[str, Any]]:
    """Sets each parameter alone to other values that its range allows, its bounds among them."""
    variations = []
    for name, param in schema.params.items():
        default = param["default"]
        candidates: Sequence[Any] = ()
        if param["type"] == "boolean":
            candidates = (not default,)
        elif param["type"] == "integer":
            candidates = (default - 1, default + 1)
        elif param["type"] == "number":
            bounds = [float(param[bound]) for bound in ("minimum", "maximum") if bound in param]
            candidates = [*((default / 10, default * 10) if default else (0.01, 0.4)), *bounds]
        variations += [{name: value} for value in candidates if value != default]
    return [params for params in variations if not problems(schema.params, params)]
