"""`import_file` imports a Python file that config.toml lists as a plugin, with the modules that lie beside it.

Its name is made of its path, so that two plugins may have files of the same name. The modules beside it keep their own short
names: those of another plugin's folder are put out of the way while this one is imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

_folders: list[str] = []
"""The folders of the files that were imported."""


def import_file(path: Path) -> ModuleType:
    """Imports a Python file as a module with a name of its own. Raises what the file raises."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is listed under `plugins` in config.toml and is not a file")
    unique = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(f"prefd_local_{path.stem}_{unique}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and quoted annotations look their module up there
    try:
        with _importing_from(path.parent):
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(spec.name, None)
        raise
    return module


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Lets modules in `folder` be imported by name, before those of other plugins' folders and after all others.

    The folder stays on sys.path: a loss may import when it is called.
    """
    own = str(folder)
    others = [each for each in _folders if each != own]
    _put_aside_modules_of(others)
    sys.path[:] = [each for each in sys.path if each not in others]
    if own not in sys.path:
        sys.path.append(own)
        _folders.append(own)
    try:
        yield
    finally:
        sys.path += [each for each in others if each not in sys.path]


def _put_aside_modules_of(folders: list[str]) -> None:
    """Takes the modules that lie directly in one of `folders` out of sys.modules; modules that have imported them keep them."""
    places = {place for folder in folders for place in (Path(folder), *Path(folder).glob("*/"))}
    helpers = {name for name, module in sys.modules.items() if "." not in name and _is_helper(name, module, places)}
    for name in list(sys.modules):
        if name.partition(".")[0] in helpers:
            del sys.modules[name]


def _is_helper(name: str, module: ModuleType | None, places: set[Path]) -> bool:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or Path(file).parent not in places:
        return False
    return Path(file).stem == name or (Path(file).stem == "__init__" and Path(file).parent.name == name)
