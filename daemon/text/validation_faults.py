"""pydantic's validation errors as one line each: the field's path, what is wrong, what was expected.

Shared by job specs and the daemon's own settings.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from prefd.daemon.text import unknown_losses
from prefd.daemon.text.foreign_settings import PLACED, VALUES, advice
from prefd.daemon.text.wording import Path, amount, clip, dotted, nearest, shown

MOST_PLACES = 3
FIRST = {"loss": "name", "data": "path", "reference": "model", "lr_schedule": "name", "quantize": "bits", "qat": "bits"}
"""Of a block, the setting that people give in its place."""
MAX_FAULTS = 20
"""Lines told of one spec."""
NUMBER = re.compile(r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?")
EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def explain(error: ValidationError, model: type[BaseModel], value: Any, lines: Mapping[Path, int]) -> list[str]:
    """One line for each path that `error` names, in the order of the text where `lines` (path → line) tells it.

    At most MAX_FAULTS, and how many more there are.
    """
    by_path: dict[Path, list[ErrorDetails]] = {}
    for fault in error.errors(include_url=False):
        by_path.setdefault(_path(fault, value), []).append(fault)
    ordered = sorted(by_path.items(), key=lambda item: lines.get(item[0], 0))
    told = [
        (f"line {lines[path]}: " if path in lines else "") + _line(path, faults, model)
        for path, faults in ordered[:MAX_FAULTS]
    ]
    return told + more_than(len(told), len(ordered))


def more_than(told: int, faults: int) -> list[str]:
    """The line that says how many faults are not told; none where all are."""
    return [f"… and {amount(faults - told, 'more fault')}"] if faults > told else []


def _path(fault: ErrorDetails, value: Any) -> Path:
    """The fault's place in the text: without the names pydantic adds for the members of a union."""
    path: list[str | int] = []
    last = len(fault["loc"]) - 1
    for place, part in enumerate(fault["loc"]):
        if (isinstance(value, Mapping) and part in value) or (isinstance(value, list) and isinstance(part, int)):
            value = value[part]  # type: ignore[index]  # each kind of container with its own kind of key
        elif place != last or fault["type"] != "missing":
            continue
        path.append(part)
    return tuple(path)


def _line(path: Path, faults: list[ErrorDetails], model: type[BaseModel]) -> str:
    fault = next((each for each in faults if each["type"] not in EXPECTED), faults[0])
    where, given = dotted(path), fault["input"]
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key; {_did_you_mean(path, model)}"
    if fault["type"] == "missing":
        field = fields_at(model, path[:-1]).get(str(path[-1]))
        return f"{where}: missing" + (f": {field.description}" if field and field.description else "")
    if fault["type"] in EXPECTED:
        expected = " or ".join(dict.fromkeys(EXPECTED[each["type"]] for each in faults if each["type"] in EXPECTED))
        hint = _quoted_number(expected, given) + _as_a_mapping(path, expected, given)
        return f"{where}: expected {expected}, got {shown(given)}{hint}"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{where}: {message}" if where else message
    message = message.replace("Input should be a valid", "expected a").replace("Input should be", "must be")
    message = message.replace("String should", "must").replace("List should", "must")
    hint = _value_hint(fault)
    return f"{where}: {message[:1].lower()}{clip(message[1:], 200)}, got {shown(given)}{hint}"


def _quoted_number(expected: str, given: Any) -> str:
    if "number" in expected and isinstance(given, str) and NUMBER.fullmatch(given.strip()):
        return " (take the quotes away)"
    return ""


def _as_a_mapping(path: Path, expected: str, given: Any) -> str:
    """How a block is written that was given as the one value that matters most in it."""
    block = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
    if expected != "a mapping" or isinstance(given, dict | list) or block not in FIRST:
        return ""
    value = shown(given).strip('"')
    if block == "loss" and (said := unknown_losses.advice(value, ())):
        return f"; write {{name: …}} ({said})"
    return f"; write {{{FIRST[block]}: {value}}}"


def _value_hint(fault: ErrorDetails) -> str:
    """The value that is meant, where one differs by its case or is the beginning of its words; none that is only alike."""
    given = fault["input"]
    if fault["type"] != "literal_error" or not isinstance(given, str):
        return ""
    if said := VALUES.get(given.lower()):
        return f"; {said}"
    plain = given.lower().replace("-", "_")
    values = re.findall(r"'([^']*)'", str(fault.get("ctx", {}).get("expected", "")))
    meant = [value for value in values if value == plain or value.startswith(f"{plain}_")]
    return f"; did you mean {meant[0]}?" if len(meant) == 1 else ""


def _did_you_mean(path: Path, model: type[BaseModel]) -> str:
    if placed := PLACED.get(dotted(path)):
        return f"did you mean {placed}?"
    *level, key = path
    known = fields_at(model, tuple(level))
    prefix = "".join(f"{part}." for part in level if isinstance(part, str))
    elsewhere = [name for name in every_field(model) if name.rpartition(".")[2] == key and _reachable(name, prefix)]
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere[:MOST_PLACES])}?"
    if foreign := advice(str(key)):
        return foreign
    if near := nearest(str(key), known):
        return f"did you mean {prefix}{near}?"
    return f"known here: {', '.join(known)}" if known else "nothing goes here"


def _reachable(name: str, prefix: str) -> bool:
    """Whether a key under `prefix` may have been meant for the setting `name`: it is in the same block, or in a large one.

    `mode` of a quantization is not that of early stopping.
    """
    return name.startswith(prefix) or name.count(".") <= 1


def fields_at(model: type[BaseModel], path: Path) -> Mapping[str, Any]:
    """The fields of the model that describes the mapping at `path`."""
    current: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int):
            continue  # the members of a list have the fields that its annotation says
        field = current.model_fields.get(part) if current else None
        current = _model_in(field.annotation) if field else None
    return current.model_fields if current else {}


def every_field(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every field's dotted name, the top level first."""
    for name in model.model_fields:
        yield prefix + name
    for name, field in model.model_fields.items():
        if inner := _model_in(field.annotation, in_lists=False):  # a list's members have no dotted name
            yield from every_field(inner, f"{prefix}{name}.")


def _model_in(annotation: Any, in_lists: bool = True) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) is list and not in_lists:
        return None
    return next(filter(None, (_model_in(each, in_lists) for each in typing.get_args(annotation))), None)
