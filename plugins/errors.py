"""Defines the root of the plugins' errors, whose messages people read, and puts any other exception into words."""

from __future__ import annotations


class PluginError(Exception):
    """PluginError is an error of a plugin, or of a spec that names one, whose message is for a person."""


def describe_exception(error: BaseException) -> str:
    """Describes an exception whose message is for no person by its type: `KeyError: 'a'`; even where its message cannot be had."""
    try:
        return f"{type(error).__name__}: {error}".removesuffix(": ")
    except BaseException:  # noqa: BLE001  # its __str__ may be a stranger's code too
        return type(error).__name__
