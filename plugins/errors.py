"""Defines the root of the plugins' errors, whose messages people read."""

from __future__ import annotations


class PluginError(Exception):
    """PluginError is an error of a plugin, or of a spec that names one, whose message is for a person."""
