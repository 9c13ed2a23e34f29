"""Where things lie that tests use and do not make."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
SUPPORT = Path(__file__).parent
"""The folder of the modules that tests share, for the programs that tests start."""
SMOL = Path(os.environ.get("PREFD_SMOL", ROOT / ".models" / "SmolLM2-135M-Instruct"))
SHARED_PAIRS = ROOT.parent / "shared" / "data" / "alpaca_eval_pairs.jsonl"
FAULTS = ROOT.parent / "shared" / "faults" / "cases"
"""Files that people reported of other trainers; a test that uses them is skipped where they are not."""
