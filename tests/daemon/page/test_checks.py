"""The list of what the page has to show (README.md beside this file) names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
NAMED = re.compile(r"`([\w./]+\.py)::(\w+)`")


def test_every_promise_names_its_test() -> None:
    text = (HERE / "README.md").read_text(encoding="utf-8")
    rows = [
        line
        for line in text.splitlines()
        if line.startswith("| ") and "| --- |" not in line and "| promise |" not in line
    ]
    assert len(rows) >= 45
    assert [row for row in rows if not NAMED.search(row)] == []
    gone = [f"{file}::{name}" for file, name in NAMED.findall(text) if f"def {name}(" not in (HERE / file).read_text()]
    assert gone == []
