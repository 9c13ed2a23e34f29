"""Words pydantic's validation errors as one fault each: the field's path, what is wrong, what was expected.

Shared by job specs and the daemon's own settings.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Mapping
from datetime import date, time
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import ErrorDetails

from prefd.daemon.text import unknown_losses
from prefd.daemon.text.foreign_settings import PLACED, VALUES, translate_setting
from prefd.daemon.text.text_fault import Position, Positions, TextFault, locate_faults
from prefd.daemon.text.wording import Path, clip, find_nearest, format_amount, format_path, format_value

MOST_PLACES = 3
FIRST = {"loss": "name", "data": "path", "reference": "model", "lr_schedule": "name", "quantize": "bits", "qat": "bits"}
"""Of a block, the setting that people give in its place."""
MAX_FAULTS = 20
"""Lines told of one spec."""
NUMBER = re.compile(r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?")
NAMES = ("name", "group", "split", "config", "data_dir", "revision", "validation_split")
"""Settings that take text, and whose text may look like a number or a date."""
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


def explain_faults(error: ValidationError, model: type[BaseModel], value: Any, positions: Positions) -> list[TextFault]:
    """Words one fault for each path that `error` names, in the order of the text where `positions` tell it.

    At most MAX_FAULTS, and how many more there are.
    """
    by_path: dict[Path, list[ErrorDetails]] = {}
    for fault in error.errors(include_url=False):
        by_path.setdefault(_locate_fault(fault, value), []).append(fault)
    ordered = sorted(by_path.items(), key=lambda item: positions.get(item[0], Position(0)).line)
    faults = [TextFault(_explain_fault(path, each, model), format_path(path)) for path, each in ordered[:MAX_FAULTS]]
    return limit_faults(locate_faults(faults, positions), len(ordered))


def limit_faults(faults: list[TextFault], count: int | None = None) -> list[TextFault]:
    """Returns the first MAX_FAULTS, and one that says how many there are besides of `count`, or of those given."""
    omitted = (len(faults) if count is None else count) - MAX_FAULTS
    remark = [TextFault(f"… and {format_amount(omitted, 'more fault')}")] if omitted > 0 else []
    return faults[:MAX_FAULTS] + remark


def _locate_fault(fault: ErrorDetails, value: Any) -> Path:
    """Returns the fault's place in the text: without the names pydantic adds for the members of a union."""
    path: list[str | int] = []
    last = len(fault["loc"]) - 1
    for place, part in enumerate(fault["loc"]):
        if (isinstance(value, Mapping) and part in value) or (isinstance(value, list) and isinstance(part, int)):
            value = value[part]  # type: ignore[index]  # each kind of container with its own kind of key
        elif place != last or fault["type"] != "missing":
            continue
        path.append(part)
    return tuple(path)


def _explain_fault(path: Path, faults: list[ErrorDetails], model: type[BaseModel]) -> str:
    """Says what is wrong with the value at `path`."""
    fault = next((each for each in faults if each["type"] not in EXPECTED), faults[0])
    value = fault["input"]
    if fault["type"] == "extra_forbidden":
        return f"unknown key; {_hint_unknown_key(path, model)}"
    if fault["type"] == "missing":
        return "missing" + _describe_field(path, model)
    if fault["type"] in EXPECTED:
        expected = " or ".join(dict.fromkeys(EXPECTED[each["type"]] for each in faults if each["type"] in EXPECTED))
        if value is None:  # a key with nothing behind it, as forms and people leave one
            return f"expected {expected}, and nothing is there" + _describe_field(path, model)
        hint = _hint_quotes(path, expected, value) + _hint_mapping(path, expected, value)
        return f"expected {expected}, got {format_value(value)}{hint}"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return message
    message = message.replace("Input should be a valid", "expected a").replace("Input should be", "must be")
    message = message.replace("String should", "must").replace("List should", "must")
    hint = _hint_value(fault)
    return f"{message[:1].lower()}{clip(message[1:], 200)}, got {format_value(value)}{hint}"


def _describe_field(path: Path, model: type[BaseModel]) -> str:
    """Says what belongs at `path`, behind a colon; nothing where the model does not say."""
    field = find_fields(model, path[:-1]).get(str(path[-1])) if path else None
    return f": {field.description}" if field and field.description else ""


def _hint_quotes(path: Path, expected: str, value: Any) -> str:
    """Says how a number is written that was given as text, and the other way round."""
    if expected == "text" and path[-1] in NAMES and isinstance(value, bool | int | float | date | time):
        return " (put it in quotes)"
    if expected == "a whole number" and isinstance(value, float) and value.is_integer():
        return f" (write {value:.0f})"
    if "number" not in expected or not isinstance(value, str):
        return ""
    if NUMBER.fullmatch(value.strip()):
        return " (take the quotes away)"
    plain = value.strip().replace("_", "").replace("'", "")
    if NUMBER.fullmatch(plain):
        return f" (write {plain})"
    return f" (write {plain.replace(',', '.')})" if NUMBER.fullmatch(plain.replace(",", ".", 1)) else ""


def _hint_mapping(path: Path, expected: str, value: Any) -> str:
    """Says how a block is written that was given as the one value that matters most in it."""
    block = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
    if expected != "a mapping" or isinstance(value, dict | list) or block not in FIRST:
        return ""
    text = format_value(value).strip('"')
    if block == "loss" and (advice := unknown_losses.suggest_loss(text, ())):
        return f"; write {{name: …}} ({advice})"
    return f"; write {{{FIRST[block]}: {text}}}"


def _hint_value(fault: ErrorDetails) -> str:
    """Suggests the literal that differs by its case or begins with the given words; none that is only alike."""
    value = fault["input"]
    if fault["type"] != "literal_error" or not isinstance(value, str):
        return ""
    if advice := VALUES.get(value.lower()):
        return f"; {advice}"
    plain = value.lower().replace("-", "_")
    literals = re.findall(r"'([^']*)'", str(fault.get("ctx", {}).get("expected", "")))
    matches = [literal for literal in literals if literal == plain or literal.startswith(f"{plain}_")]
    return f"; did you mean {matches[0]}?" if len(matches) == 1 else ""


def _hint_unknown_key(path: Path, model: type[BaseModel]) -> str:
    if destination := PLACED.get(format_path(path)):
        return f"did you mean {destination}?"
    if NUMBER.fullmatch(str(path[-1])):
        return "is it of a number that is written with a comma? write a point"
    *level, key = path
    fields = find_fields(model, tuple(level))
    prefix = "".join(f"{part}." for part in level if isinstance(part, str))
    elsewhere = [name for name in list_fields(model) if name.rpartition(".")[2] == key and _is_reachable(name, prefix)]
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere[:MOST_PLACES])}?"
    if foreign := translate_setting(str(key)):
        return foreign
    if near := find_nearest(str(key), fields):
        return f"did you mean {prefix}{near}?"
    return f"known here: {', '.join(fields)}" if fields else "nothing goes here"


def _is_reachable(name: str, prefix: str) -> bool:
    """Says whether a key under `prefix` may have been meant for the setting `name`: it is in the same block, or in a large one.

    `mode` of a quantization is not that of early stopping.
    """
    return name.startswith(prefix) or name.count(".") <= 1


def find_fields(model: type[BaseModel], path: Path) -> Mapping[str, Any]:
    """Returns the fields of the model that describes the mapping at `path`."""
    current: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int):
            continue  # the members of a list have the fields that its annotation says
        field = current.model_fields.get(part) if current else None
        current = _find_model(field.annotation) if field else None
    return current.model_fields if current else {}


def list_fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yields the dotted name of every field that a user writes, the top level first."""
    written = {name: field for name, field in model.model_fields.items() if not _is_internal(field)}
    for name in written:
        yield prefix + name
    for name, field in written.items():
        if inner := _find_model(field.annotation, in_lists=False):  # a list's members have no dotted name
            yield from list_fields(inner, f"{prefix}{name}.")


def _is_internal(field: FieldInfo) -> bool:
    """Says whether prefd alone writes it: it is not in the schema either."""
    marker: Any = SkipJsonSchema  # a generic alias to type checkers, and a class
    return any(isinstance(each, marker) for each in field.metadata)


def _find_model(annotation: Any, in_lists: bool = True) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) is list and not in_lists:
        return None
    return next(filter(None, (_find_model(each, in_lists) for each in typing.get_args(annotation))), None)
