"""Compares where a PEFT config puts its adapter with the tensors that its file has.

PEFT puts an adapter where its config says, and passes over the tensors of any other module; here the tensors say where it is.
A config that was edited by hand would mean another function, so the two must agree.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, NoReturn

from prefd.daemon.specs.adapter_config import AdapterConfig
from prefd.daemon.specs.adapter_faults import CONFIG, is_whole
from prefd.daemon.text.wording import format_value
from prefd.daemon.worker.errors import JobError

ALL_LINEAR = "all-linear"


def check_targets(adapter: AdapterConfig, modules: Collection[str]) -> None:
    """Check that PEFT would put `adapter` on each of `modules`, those that have tensors, or raise `JobError`."""
    for name in sorted(modules):
        if setting := _find_hindrance(adapter, name):
            value = adapter.raw.get(setting)
            raise JobError(
                f"adapter {adapter.folder} has {setting} {_write(value)} in its {CONFIG}, by which PEFT would not put it on "
                f"{name}, and its file has tensors for that; write {setting} as it was when it was trained, or save it again"
            )


def find_missing_targets(adapter: AdapterConfig, modules: Collection[str]) -> list[str]:
    """Find the modules and layers that the config lists, and that have no tensors."""
    targets, layers = adapter.raw.get("target_modules"), _list_layers(adapter.raw.get("layers_to_transform"))
    listed_targets = targets if isinstance(targets, list) else []
    missing = [str(target) for target in listed_targets if not any(_ends_with(name, target) for name in modules)]
    return missing + [f"layer {layer}" for layer in layers or () if not any(f".{layer}." in name for name in modules)]


def _find_hindrance(adapter: AdapterConfig, module: str) -> str | None:
    """Name the setting by which PEFT would leave `module` as it is; None where it would adapt it."""
    raw = adapter.raw
    if (targets := raw.get("target_modules")) not in (None, ALL_LINEAR) and not _matches(
        adapter, "target_modules", module
    ):
        return "target_modules" if targets else None
    if raw.get("exclude_modules") and _matches(adapter, "exclude_modules", module):
        return "exclude_modules"
    layers, patterns = _list_layers(raw.get("layers_to_transform")), raw.get("layers_pattern") or []
    if layers is None:
        _refuse(adapter, "layers_to_transform", "a layer's number or a list of some")
    if not layers:
        return None  # then PEFT looks at no pattern either
    index = _find_layer(adapter, [patterns] if isinstance(patterns, str) else patterns, module)
    if index is None and patterns:
        return "layers_pattern"
    return None if index in layers else "layers_to_transform"


def _matches(adapter: AdapterConfig, setting: str, module: str) -> bool:
    value = adapter.raw[setting]
    if isinstance(value, str):
        return _search(adapter, setting, value, module, whole=True) is not None
    if not isinstance(value, list) or not all(isinstance(target, str) for target in value):
        _refuse(adapter, setting, "names of modules, or a pattern")
    return any(_ends_with(module, target) for target in value)


def _find_layer(adapter: AdapterConfig, patterns: Any, module: str) -> int | None:
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        _refuse(adapter, "layers_pattern", "the name of the list of layers, or several")
    for pattern in patterns or ["[^.]*"]:
        if match := _search(adapter, "layers_pattern", rf".*\.{pattern}\.(\d+)\.", module, whole=False):
            return int(match[match.re.groups])
    return None


def _search(adapter: AdapterConfig, setting: str, pattern: str, module: str, whole: bool) -> re.Match[str] | None:
    try:
        return re.fullmatch(pattern, module) if whole else re.match(pattern, module)
    except re.error:
        _refuse(adapter, setting, "names of modules, or a pattern")


def _refuse(adapter: AdapterConfig, setting: str, expected: str) -> NoReturn:
    raise JobError(
        f"adapter {adapter.folder} has {setting} {_write(adapter.raw.get(setting))} in its {CONFIG}; it must be {expected}"
    )


def _ends_with(module: str, target: Any) -> bool:
    return module == target or module.endswith(f".{target}")


def _list_layers(value: Any) -> list[int] | None:
    """The numbers of the layers; none where any layer may be meant, None where it is no such list."""
    layers = [] if value is None else value if isinstance(value, list) else [value]
    return layers if all(map(is_whole, layers)) else None


def _write(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) and len(value) <= 8 else format_value(value)
