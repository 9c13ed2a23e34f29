"""Shortens a long text to one line of a terminal."""

from __future__ import annotations

from prefd.daemon.text.wording import clip

ONE_LINE = 160
"""Characters of a text that is shown in short."""


def shorten(text: str, keep_end: bool) -> str:
    """Shortens a text to one line, the beginning of it or, of a prompt that begins with a system's words, its end."""
    line = " ".join(text.split())
    if keep_end and len(line) > ONE_LINE:
        return "…" + clip(line[1 - ONE_LINE :], ONE_LINE)
    return clip(line, ONE_LINE)
