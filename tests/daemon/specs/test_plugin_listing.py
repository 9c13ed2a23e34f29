"""Listing plugins that end, hang or fill the process that imports them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.interpreter import WORKER
from prefd.daemon.specs.catalog import CatalogError
from prefd.daemon.specs.catalog_listing import load_catalog
from prefd.daemon.specs.plugin_listing import list_plugins
from prefd.daemon.timing import USUAL, Timing
from support.child_processes import list_command_lines
from support.fake_worker import wait_for
from support.paths import SUPPORT
from support.programs import program_environment

LISTER = (sys.executable, "-I", "-S", str(SUPPORT / "fake_lister.py"), "catalog")
GOOD = '''
from prefd.plugins.hookspecs import hookimpl

def mine(x, *, beta: float = 0.1):
    """My own loss."""
    raise NotImplementedError

@hookimpl
def register_losses(register):
    register("mine", mine)
'''


def list_errors(*names: str, timing: Timing = USUAL) -> dict[str, str | None]:
    """What is wrong with plugins of these names, as the fake lister does what they say."""
    answer: Any = list_plugins(LISTER, HandedSettings(tuple(f"/{name}.py" for name in names)), timing=timing)
    return {plugin["name"]: plugin["error"] for plugin in answer["plugins"]}


def test_each_plugin_that_ends_the_process_is_named_and_the_others_are_listed() -> None:
    assert list_errors("segfault", "one", "exit3", "exit0", "noise", "closed", "two", "killed") == {
        "segfault": "it ends the process that imports it (SIGSEGV)",
        "one": None,
        "exit3": "it ends the process that imports it (exit code 3)",
        "exit0": "it ends the process that imports it (exit code 0)",
        "noise": None,
        "closed": "it ends the process that imports it, or closes its output",
        "two": None,
        "killed": "it ends the process that imports it (SIGKILL)",
    }


def test_a_plugin_that_leaves_a_process_in_which_nothing_works_is_named_too() -> None:
    reason = "it breaks the process that imports it: AttributeError: module 'sys' has no attribute 'path'"
    assert list_errors("one", "broken1", "exit3", "broken2", "two") == {
        "one": None,
        "broken1": reason,
        "exit3": "it ends the process that imports it (exit code 3)",
        "broken2": reason,
        "two": None,
    }


def test_any_number_of_plugins_that_hang_take_the_time_of_one() -> None:
    starts_of_mlx = 3 * 2.0  # of the listing, of the trials, and of the listing without the culprits
    assert USUAL.plugin_suspicion + USUAL.plugin_import + starts_of_mlx < 20
    timing = Timing(plugin_suspicion=0.2, plugin_import=2.0)
    hanging = [f"hang{number}" for number in range(8)]
    began = time.monotonic()
    errors = list_errors("one", *hanging[:4], "two", "segfault", *hanging[4:], timing=timing)
    assert time.monotonic() - began < 4 * timing.plugin_import
    assert errors == dict.fromkeys(("one", "two")) | dict.fromkeys(
        hanging, "importing it takes longer than 2 s: does it hang?"
    ) | {"segfault": "it ends the process that imports it (SIGSEGV)"}


def test_a_plugin_that_is_only_slow_is_listed_and_so_is_what_follows() -> None:
    errors = list_errors("slow", "one", "slow_too", timing=Timing(plugin_suspicion=0.1))
    assert errors == dict.fromkeys(("slow", "one", "slow_too"))
    assert not [line for line in list_command_lines() if LISTER[-2] in line]


def test_a_thread_that_outlives_the_listing_holds_nothing_up() -> None:
    began = time.monotonic()
    assert list_errors("thread", "one") == {"thread": None, "one": None}
    assert time.monotonic() - began < 30


def test_a_listing_that_is_broken_off_ends_at_once_and_leaves_no_child() -> None:
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(CatalogError, match="broken off"):
        list_plugins(LISTER, HandedSettings(("/hang.py",)), cancelled)
    assert time.monotonic() - began < USUAL.plugin_import
    assert not [line for line in list_command_lines() if LISTER[-2] in line]


@pytest.mark.slow
@pytest.mark.thorough
def test_real_plugins_may_do_at_import_whatever_they_like(ready_home: Home) -> None:
    sources = {
        "segfault": "import ctypes; ctypes.string_at(0)",
        "exit": "import os; os._exit(3)",
        "interrupt": "raise KeyboardInterrupt",
        "thread": "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()",
        "noise": "import os, sys; print('{}'); os.write(1, b'{}\\n' * 10_000); sys.stderr.write('x' * 300_000)",
        "good": GOOD,
    }
    for name, source in sources.items():
        (ready_home.root / f"{name}.py").write_text(source)
    ready_home.config.write_text(f"plugins = {[f'{name}.py' for name in sources]}")
    catalog = load_catalog(ready_home)
    errors = {plugin.name: plugin.error for plugin in catalog.plugins if plugin.name in sources}
    assert errors["segfault"] == "it ends the process that imports it (SIGSEGV)"
    assert errors["exit"] == "it ends the process that imports it (exit code 3)"
    assert errors["interrupt"] == "KeyboardInterrupt"
    assert "implements no hook" in str(errors["thread"])
    assert "implements no hook" in str(errors["noise"])
    assert errors["good"] is None
    assert {"mine", "sigmoid"} <= catalog.losses.keys()
    assert str(ready_home.root / "good.py") in catalog.files


@pytest.mark.slow
def test_a_killed_command_leaves_no_child(ready_home: Home, tmp_path: Path) -> None:
    (ready_home.root / "hang.py").write_text(f"open({str(tmp_path / 'begun')!r}, 'w').close()\nwhile True: pass")
    ready_home.config.write_text('plugins = ["hang.py"]')
    command = [sys.executable, "-m", "prefd.daemon.cli", "--home", str(ready_home.root), "plugins"]
    for number in (signal.SIGKILL, signal.SIGTERM):
        with subprocess.Popen(command, env=program_environment(), stderr=subprocess.DEVNULL) as process:
            wait_for(lambda: (tmp_path / "begun").exists())
            (child,) = psutil.Process(process.pid).children()
            assert list(WORKER[1:]) == child.cmdline()[1 : len(WORKER)]
            os.kill(process.pid, number)
        child.wait(30)
        (tmp_path / "begun").unlink()
