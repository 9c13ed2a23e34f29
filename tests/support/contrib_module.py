"""Import a file of contrib/, which is no package, or a package in it, for its tests."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from support.paths import ROOT

CONTRIB = ROOT / "contrib"


def load_package(path: str) -> ModuleType:
    """The package in the folder contrib/`path`, under its own name, as if it were installed."""
    folder = CONTRIB / path
    spec = importlib.util.spec_from_file_location(
        folder.name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec
    assert spec.loader
    module = sys.modules[folder.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load(path: str) -> ModuleType:
    """The module at contrib/`path`, freshly run."""
    spec = importlib.util.spec_from_file_location(f"contrib_{Path(path).stem}", CONTRIB / path)
    assert spec
    assert spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where its dataclasses look for it
    spec.loader.exec_module(module)
    return module


def build_wheel(source: Path, folder: Path) -> Path:
    """Builds the wheel of the package in `source` into `folder`, with this environment's setuptools: no index is asked."""
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(source))
    (wheel,) = folder.glob("*.whl")
    return wheel


def pip(*arguments: str) -> None:
    """Runs pip; fails the test with what it said."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
