"""Import a file of contrib/, which is no package, for its tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

CONTRIB = Path(__file__).parent.parent / "contrib"


def load(path: str) -> ModuleType:
    """The module at contrib/`path`, freshly run."""
    spec = importlib.util.spec_from_file_location(f"contrib_{Path(path).stem}", CONTRIB / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
