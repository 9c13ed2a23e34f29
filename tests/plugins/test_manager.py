"""Finding plugins: built-ins, files from config.toml, and what becomes of the broken ones."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from prefd.plugins import hookspecs
from prefd.plugins.manager import LossParameterError, load_plugins

GOOD = '''
from dataclasses import dataclass
from prefd.plugins.hookspecs import hookimpl

@dataclass(frozen=True)
class Mine:
    """My own loss."""
    beta: float = 0.1
    def __call__(self, x):
        raise NotImplementedError

@hookimpl
def register_losses(register):
    register("mine", Mine)
'''


def local(tmp_path: Path, source: str, name: str = "plugin.py") -> Path:
    path = tmp_path / name
    path.write_text(source)
    return path


def test_the_built_in_losses_come_by_the_public_hook() -> None:
    plugins = load_plugins()
    built_in = next(plugin for plugin in plugins.plugins if plugin.name == "prefd:losses")
    needs_reference = {name: plugins.losses[name].schema.needs_reference for name in built_in.losses}
    free = ("cpo", "cpo_dpop", "cpo_hinge", "cpo_ipo", "sft", "simpo")
    assert (
        needs_reference.items()
        >= {**dict.fromkeys(("dpop", "hinge", "ipo", "sigmoid"), True), **dict.fromkeys(free, False)}.items()
    )


def test_a_local_file_brings_a_loss(tmp_path: Path) -> None:
    plugins = load_plugins([local(tmp_path, GOOD)])
    assert plugins.losses["mine"].plugin == "plugin"
    assert plugins.losses["mine"].create({"beta": 0.5}).beta == 0.5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import a_module_that_is_not_there", "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
        ("def broken(:", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("class Odd(BaseException):\n    def __str__(self): raise self\nraise Odd", "Odd"),
        (GOOD.replace("register_losses", "register_loses"), "PluginValidationError: unknown hook 'register_loses'"),
        (GOOD.replace('"mine"', '"sigmoid"'), "DuplicateName: loss 'sigmoid' is already registered by prefd:losses"),
        (GOOD.replace('"""My own loss."""', ""), "needs a docstring"),
        ("x = 1", "it implements no hook of prefd"),
    ],
)
def test_a_broken_plugin_is_reported_and_costs_nothing_else(tmp_path: Path, source: str, error: str) -> None:
    plugins = load_plugins([local(tmp_path, source), local(tmp_path, GOOD, "good.py")])
    broken = next(plugin for plugin in plugins.plugins if plugin.name == "plugin")
    assert error in str(broken.error)
    assert not broken.losses
    assert {"mine", "sigmoid"} <= plugins.losses.keys()


def test_a_plugin_that_fails_half_way_brings_nothing(tmp_path: Path) -> None:
    source = GOOD + '    register("mine2", Mine)\n    register("mine", Mine)\n'
    plugins = load_plugins([local(tmp_path, source)])
    assert "already registered" in str(plugins.plugins[-1].error)
    assert not {"mine", "mine2"} & plugins.losses.keys()


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    plugins = load_plugins([tmp_path / "gone.py"])
    assert "listed under `plugins` in config.toml and is not a file" in str(plugins.plugins[-1].error)


def test_parameters_are_checked_when_a_loss_is_made() -> None:
    with pytest.raises(LossParameterError, match=r"loss\.bta: unknown parameter; did you mean beta\?"):
        load_plugins().losses["ipo"].create({"bta": 1.0})
    with pytest.raises(LossParameterError, match=r"loss\.beta: must be above 0, got -1"):
        load_plugins().losses["ipo"].create({"beta": -1})


def test_every_hook_and_argument_is_documented() -> None:
    module = ast.parse(Path(str(hookspecs.__file__)).read_text())
    hooks = [node for node in module.body if isinstance(node, ast.FunctionDef)]
    assert {hook.name for hook in hooks} == {"register_losses", "register_formats", "register_reporters"}
    for hook in hooks:
        assert f"`{hook.args.args[0].arg}(" in str(ast.get_docstring(hook))


def test_a_plugin_that_is_left_out_is_listed_with_the_reason_and_not_imported(tmp_path: Path) -> None:
    path = local(tmp_path, "raise AssertionError")
    begun: list[str] = []
    plugins = load_plugins([path], {str(path): "it died of SIGSEGV"}, lambda plugin, _: begun.append(plugin.key))
    assert plugins.plugins[-1].error == "it died of SIGSEGV"
    assert str(path) not in begun
    assert "prefd:losses" in begun


@pytest.mark.parametrize("then", ["", "if child == 0: raise SystemExit"])
def test_a_child_that_a_plugin_forks_at_import_ends_there_and_loads_nothing_a_second_time(
    tmp_path: Path, then: str
) -> None:
    plugin = tmp_path / "forks.py"
    plugin.write_text(f"import os\nchild = os.fork()\n{then}\n")
    program = f"from pathlib import Path; from prefd.plugins.manager import load_plugins; load_plugins([Path({str(plugin)!r})]); print('loaded')"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("loaded\n", 0)
