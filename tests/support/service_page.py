"""Commands of the page on services, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from support.paths import ROOT

PAGE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")


def follow_page(account: Path, manager: str) -> list[str]:
    """What the page's block for `manager` asks of it, when it is run from the repository's folder."""
    block = next(
        block for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE) if manager in block
    )
    environment = {"HOME": str(account), "PATH": f"{account / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sh", "-eu", "-c", block], cwd=ROOT, env=environment, check=True, timeout=60)
    return (account / "asked").read_text().splitlines()
