"""`build_note` makes the command that shows a notification on the desktop that a job has ended: macOS's own, or notify-send.

A notification of macOS's comes from "Script Editor", which has to be allowed once in System Settings.
"""

from __future__ import annotations

import html
import sys

from prefd.daemon.text.wording import clip

MOST_WORDS = 300
SCRIPT = (
    "function run(words) {"
    " const app = Application.currentApplication();"
    " app.includeStandardAdditions = true;"
    " app.displayNotification(words[2], {withTitle: words[0], subtitle: words[1], soundName: 'Glass'}); }"
)
"""JavaScript that takes its words as arguments: none of them is ever read as a program."""


def build_note(name: str, state: str, reason: str) -> list[str]:
    """Return the command that tells of the end of the job called `name`."""
    title, text = f"prefd: {clip(name, 80)}", clip(" ".join(reason.split()), MOST_WORDS)
    if sys.platform == "darwin":
        return ["/usr/bin/osascript", "-l", "JavaScript", "-e", SCRIPT, title, state, text]
    urgency = "critical" if state == "failed" else "normal"
    body = html.escape(f"{state}: {text}" if text else state, quote=False)  # desktops read it as markup
    return ["notify-send", "--app-name=prefd", f"--urgency={urgency}", "--", title, body]
