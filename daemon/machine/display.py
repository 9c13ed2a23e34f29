"""Tells whether somebody may be looking at this machine: whether a display of it is on."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any, Protocol

LIBRARY = "/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics"


class GraphicsLibrary(Protocol):
    """GraphicsLibrary holds the functions that are called of macOS's Core Graphics."""

    def CGMainDisplayID(self) -> int:  # noqa: N802  # as macOS has it
        """Return the number of the main display; 0 where there is none."""

    def CGDisplayIsAsleep(self, display: Any, /) -> int:  # noqa: N802
        """Return whether the display sleeps."""


@cache
def load_library() -> GraphicsLibrary | None:
    """Load Core Graphics; None on another system."""
    try:
        library: GraphicsLibrary = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    return library


def is_display_on() -> bool:
    """Return whether a display is on, or whether that cannot be told: only a Mac without one, or whose own sleeps, is left alone."""
    library = load_library() if sys.platform == "darwin" else None
    if library is None:
        return True
    display = library.CGMainDisplayID()
    return bool(display) and not library.CGDisplayIsAsleep(ctypes.c_uint32(display))
