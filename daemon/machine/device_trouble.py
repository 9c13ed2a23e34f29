"""Tells by their words the errors of a GPU that pass by themselves, and say nothing about the job that met them."""

from __future__ import annotations

import re

DEVICE_TROUBLE = re.compile(
    r"Impacting Interactivity|Caused GPU (Timeout|Hang)|GPU (Timeout|Hang) Error|Innocent Victim|victim of GPU error"
    r"|for causing prior/excessive GPU errors|kIOGPUCommandBufferCallbackError(?!OutOfMemory)"
    r"|launch timed out|unspecified launch failure|uncorrectable ECC|fallen off the bus|device is busy or unavailable",
    re.IGNORECASE,
)
"""The words of Metal's command buffers and of CUDA when a pass was ended from outside, or the device itself failed."""


def has_device_trouble(text: str) -> bool:
    """Say whether `text`, an error's or the end of a log, has the words of such an error."""
    return DEVICE_TROUBLE.search(text) is not None
