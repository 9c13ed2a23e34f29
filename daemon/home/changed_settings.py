"""`list_changed_settings` lists the settings of a daemon that are not the defaults, and `describe_differences` how two differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prefd.daemon.home.settings import Config


def list_changed_settings(values: Mapping[str, Any]) -> list[str]:
    """List each setting that is not the default, as `worker.nice 5`; `values` is `Config.model_dump()`."""
    defaults = dict(_flatten(Config().model_dump()))
    return [f"{name} {_show(value)}" for name, value in _flatten(values) if defaults.get(name) != value]


def describe_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List each setting that differs, as `worker.nice 0 → 5`."""
    before, after = dict(_flatten(old)), dict(_flatten(new))
    return [
        f"{name} {_show(before.get(name))} → {_show(after.get(name))}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _flatten(settings: Mapping[str, Any], block: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting by its dotted name; `groups`, whose keys are the user's, as a whole."""
    for name, value in settings.items():
        if isinstance(value, dict) and name != "groups":
            yield from _flatten(value, f"{name}.")
        else:
            yield f"{block}{name}", value


def _show(value: Any) -> str:
    if value in ("", [], {}, None):
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
