"""`list_changed_settings` lists the settings of a daemon that are not the defaults, and `describe_differences` how two differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefd.daemon.home.settings import Config
from prefd.plugins.dotted_settings import flatten

WHOLE = ("groups", "serve.models")
"""Blocks whose keys are the user's, and no settings' names."""


def list_changed_settings(values: Mapping[str, Any]) -> list[str]:
    """List each setting that is not the default, as `worker.nice 5`; `values` is `Config.model_dump()`."""
    defaults = dict(flatten(Config().model_dump(), WHOLE))
    return [f"{name} {_show(value)}" for name, value in flatten(values, WHOLE) if defaults.get(name) != value]


def describe_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List each setting that differs, as `worker.nice 0 → 5`."""
    before, after = dict(flatten(old, WHOLE)), dict(flatten(new, WHOLE))
    return [
        f"{name} {_show(before.get(name))} → {_show(after.get(name))}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _show(value: Any) -> str:
    if value in ("", [], {}, None):
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
