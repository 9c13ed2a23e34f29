"""The cases of ../shared/faults as they were handed over: their files, their specs, and the tiny models that they name."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.reading import read_specs
from prefd.plugins.manager import load_plugins
from support.paths import ROOT

FAULTS = ROOT.parent / "shared" / "faults"
CASES = FAULTS / "cases"
Model = Callable[[str], Path]


def all_specs() -> list[str]:
    """Every spec of the cases, as `CASE/FILE`."""
    return sorted(str(path.relative_to(CASES)) for path in CASES.glob("*/*.yaml"))


def copy_case(name: str, folder: Path) -> Path:
    """A copy of the case, whose files can be written: what a job leaves beside them stays there."""
    there = folder / name
    for path in (CASES / name).rglob("*"):
        if path.is_file():
            (there / path.relative_to(CASES / name)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, there / path.relative_to(CASES / name))
    return there


def read_handed(path: Path, model: Model) -> JobSpec:
    """The spec in `path`, as it stands there but for the folder that its MODELS are in. Raises `SpecError`."""
    text = re.sub(
        r"^model: MODELS/(\S+)$", lambda named: f"model: {model(named[1])}", path.read_text(), flags=re.MULTILINE
    )
    return read_specs(text.encode(), path.name, catalog(), path.parent).spec


def maker(root: Path) -> Model:
    """Makes the models of the cases under `root`, each once."""

    def model(name: str) -> Path:
        if not (root / name).exists():
            models().make(root / name, **models().NAMES[name])
        return root / name

    return model


@cache
def catalog() -> Catalog:
    return Catalog.from_json(load_plugins().to_json())


@cache
def models() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fault_models", FAULTS / "models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
