"""What a page of the documentation shows below a prompt, and what the command prints, in one form."""

from __future__ import annotations

import re

from click.testing import CliRunner

from prefd.daemon.cli import cli
from prefd.daemon.home.layout import Home
from support.pages import blocks


def printed(home: Home, command: str) -> list[str]:
    """What a command prints, on stdout and stderr, for someone whose home is /home/me/prefd."""
    program, *arguments = command.split()
    assert program == "prefd"
    done = CliRunner(env={"COLUMNS": "120"}).invoke(cli, ["--home", str(home.root), *arguments])
    assert done.exit_code == 0, done.output
    return plain(done.output.replace(str(home.root), "/home/me/prefd"))


def plain(text: str) -> list[str]:
    """The lines of `text` with the same moment and duration everywhere, and columns as wide as their words."""
    text = re.sub(r"\d\d:\d\d:\d\d", "09:00:00", text)
    text = re.sub(r"\b(\d+m)?[\d.]+s\b", "1s", text)
    return [re.sub(r" {2,}", "  ", line).strip() for line in text.splitlines() if line.strip()]


def transcript(command: str, which: int = 0, page: str = "docs/job.md") -> list[str]:
    """What the page shows below a prompt with `command`."""
    texts = [part for block in blocks("console", page) for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)]
    return plain([text.partition("\n")[2] for text in texts if text.partition("\n")[0] == command][which])


def without_sizes(lines: list[str]) -> list[str]:
    """The lines with the same number, size and fingerprint everywhere: those are the machine's, and the model's."""
    replaced = [re.sub(r"\b[0-9a-f]{12}\b", "0" * 12, line) for line in lines]
    return [re.sub(r"\b\d[\d.,]* (k|M|G)?B\b", "1 MB", line) for line in replaced]
