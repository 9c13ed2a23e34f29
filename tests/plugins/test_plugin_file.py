"""Importing a plugin's file: with whatever its author's editor writes on top of it, and with the modules beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefd.plugins.manager import load_plugins
from prefd.plugins.plugin_file import import_file

LOSS = '''
from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

from prefd.plugins.hookspecs import hookimpl
from prefd.plugins.schema import Range

if TYPE_CHECKING:
    from collections.abc import Mapping
    from prefd.plugins.types import LossInput, LossOutput

@dataclass(frozen=True)
class Mine:
    """My own loss."""
    beta: Annotated[float, Range(above=0)] = 0.1
    steps: "int" = field(default_factory=lambda: 3)
    unchecked: ClassVar[Mapping[str, str]] = {}
    def __call__(self, x: LossInput) -> LossOutput:
        raise NotImplementedError

def other(x: LossInput, *, tau: float = 1.0) -> LossOutput:
    """Another loss."""
    raise NotImplementedError

@hookimpl
def register_losses(register):
    register("NAME", Mine)
    register("NAME_other", other)
'''


@pytest.fixture(autouse=True)
def _same_modules() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(path: Path, source: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return path


def test_annotations_may_be_text_and_name_types_that_type_checkers_alone_see(tmp_path: Path) -> None:
    plugins = load_plugins([write(tmp_path / "mine.py", LOSS.replace("NAME", "mine"))])
    assert plugins.plugins[-1].error is None
    assert plugins.losses["mine"].schema.params == {
        "beta": {"type": "number", "default": 0.1, "exclusiveMinimum": 0},
        "steps": {"type": "integer", "default": 3},
    }
    assert plugins.losses["mine_other"].schema.params == {"tau": {"type": "number", "default": 1.0}}


def test_an_annotation_that_cannot_be_resolved_is_told_with_the_remedy(tmp_path: Path) -> None:
    source = LOSS.replace("from typing import TYPE_CHECKING, Annotated", "from typing import TYPE_CHECKING")
    plugins = load_plugins([write(tmp_path / "mine.py", source)])
    assert "parameter 'beta': its type 'Annotated[float, Range(above=0)]' cannot be resolved" in str(
        plugins.plugins[-1].error
    )
    assert "at the top of the module" in str(plugins.plugins[-1].error)


def test_modules_beside_a_plugin_are_its_own_even_where_two_plugins_use_one_name(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write(tmp_path / name / "helper.py", f"value = {name!r}")
        write(tmp_path / name / "package" / "__init__.py", "")
        write(tmp_path / name / "package" / "part.py", f"value = {name!r}")
        write(tmp_path / name / "plugin.py", "import helper\nfrom package import part\n")
    modules = [import_file(tmp_path / name / "plugin.py") for name in ("first", "second")]
    assert [module.helper.value for module in modules] == ["first", "second"]
    assert [module.part.value for module in modules] == ["first", "second"]
    assert modules[0].__name__ != modules[1].__name__
    assert all(module.__name__ in sys.modules for module in modules)


def test_a_module_beside_a_plugin_hides_none_of_the_library(tmp_path: Path) -> None:
    write(tmp_path / "json.py", "raise AssertionError")
    assert import_file(write(tmp_path / "plugin.py", "import json\ntext = json.dumps(1)")).text == "1"


def test_a_file_that_fails_leaves_no_module(tmp_path: Path) -> None:
    path = write(tmp_path / "broken.py", "raise RuntimeError")
    with pytest.raises(RuntimeError):
        import_file(path)
    assert not [name for name in sys.modules if name.startswith("prefd_local_broken")]
