"""What a reporter is told: rows, which of them are there already, and who may register one."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefd.plugins.manager import load_plugins
from prefd.plugins.reporting import LastSteps, MetricsRow
from support.reported_runs import KEEPER, row

HOOK = "\n@hookimpl\ndef register_reporters(register):\n    register({})\n"
HEAD = 'from prefd.plugins.hookspecs import hookimpl\nclass Mine:\n    """Mine."""\n    def open(self, run): ...\nclass Silent:\n    def open(self, run): ...\n'


def test_a_row_has_its_numbers_without_step_and_time() -> None:
    assert MetricsRow.read({"step": 3, "epoch": 0.5, "loss": 0.25, "grad_norm": None, "time": 9.0}) == MetricsRow(
        3, {"epoch": 0.5, "loss": 0.25}, 9.0
    )
    assert MetricsRow.read({"loss": 0.25}) is None


def test_rows_of_steps_and_of_evaluations_are_there_by_themselves() -> None:
    last = LastSteps().after(row(2)).after(row(2, held_out=True)).after(row(3))
    assert last == LastSteps(train=3, held_out=2)
    assert [last.have(row(step)) for step in (1, 3, 4)] == [True, True, False]
    assert [last.have(row(step, held_out=True)) for step in (2, 3)] == [True, False]


def test_a_plugin_brings_reporters_beside_prefds_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(KEEPER)
    plugins = load_plugins([path])
    assert {"trackio", "tensorboard", "wandb", "mlflow", "keeper"} <= plugins.reporters.keys()
    about = plugins.to_json()["reporters"]["keeper"]
    assert about == {"summary": "Keeps what it is told, a line each.", "plugin": "mine", "missing": None}


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ('"trackio", Mine()', "reporter 'trackio' is already registered by prefd:reporters; choose another name"),
        ('"mine", Mine', "reporter 'mine' must be an object with a method open(run)"),
        ('"mine", Silent()', "reporter 'mine' needs a docstring"),
        ('"../mine", Mine()', "reporter '../mine': a name has at most 40 small letters"),
    ],
)
def test_a_reporter_that_cannot_be_one_is_its_plugins_error(tmp_path: Path, arguments: str, fault: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(HEAD + HOOK.format(arguments))
    plugins = load_plugins([path])
    (plugin,) = [each for each in plugins.plugins if each.name == "mine"]
    assert plugin.error is not None
    assert fault in plugin.error
    assert plugin.reporters == []


def test_what_a_reporter_needs_is_said_where_it_is_not_installed(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(HEAD + "Mine.library = 'a_library_that_is_not_there'\n" + HOOK.format('"mine", Mine()'))
    missing = load_plugins([path]).reporters["mine"].find_missing()
    assert missing is not None
    assert missing.endswith("which is not installed: pip install 'a_library_that_is_not_there'")
