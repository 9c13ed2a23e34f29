"""Shared fixtures: a tiny model that is made here, the real demo model where it has been built, and homes."""

from __future__ import annotations

import gc
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prefd.daemon.machine import blas
from support.paths import ROOT, SHARED_PAIRS, SMOL
from support.sample_pairs import PAIRS

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the workers are as many as the cores
    os.environ.pop("COLUMNS", None)  # set by xdist for its own output

os.environ["XDG_CACHE_HOME"] = str(
    ROOT / ".pytest_cache" / "user"
)  # what is found of the machine is not the user's here

RAM_DISK = Path("/dev/shm")
if RAM_DISK.is_dir() and shutil.disk_usage(RAM_DISK).free > 4 * 2**30:  # there, nothing waits until it is on a disk
    os.environ.setdefault("TMPDIR", str(RAM_DISK))
    tempfile.tempdir = None  # it has been looked up already

blas.preload()  # before anything imports mlx

from hypothesis import HealthCheck, settings

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from support import (
    fake_worker,  # tests/support/fake_worker.py
    homes,  # tests/support/homes.py
)
from support.import_shares import import_own_share
from support.running_daemon import Place
from support.sockets import short_folder
from support.supervisor_harness import Bench

# The models and the worker are imported by the fixtures: pytest-xdist's own process loads this file and needs neither.

if TYPE_CHECKING:
    from support.template_clock import SetClock

FEW_LAYERS, ALL_LAYERS = "2 of 30 layers", "all layers"
settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,  # a change is judged by the same examples as the one before; elsewhere they are new
)
settings.load_profile("suite")  # a busy machine is slow, and no test is about that


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collects the tests without the garbage collector, and takes what they import out of its sight.

    It would go through it again and again: 4 s of the 11 s that each of pytest-xdist's processes takes to collect the suite, and
    0.3 s for each time that it does so in a test.
    """
    gc.disable()
    try:
        import_own_share(session)
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the slow tests first.

    They wait for processes, most of them, and are in one part of the list, which one of pytest-xdist's processes begins with,
    while the others have the cores; and none of them is begun last, when the other processes have nothing left to do.
    """
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2-layer llama with random weights and a byte-level tokenizer with a chat template."""
    from support import tiny_model as tiny

    return tiny.build_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def smol_model() -> Path:
    """SmolLM2-135M-Instruct, as `make model` builds it."""
    if not (SMOL / "model.safetensors").exists():
        pytest.skip("the demo model has not been built (make model)")
    return SMOL


@pytest.fixture(scope="session", params=[FEW_LAYERS, pytest.param(ALL_LAYERS, marks=pytest.mark.thorough)])
def smol_layers(request: pytest.FixtureRequest, smol_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first layers of SmolLM2; thoroughly, all of it too. For what holds for each layer as it does for the first."""
    if request.param == ALL_LAYERS:
        return smol_model
    from support.first_layers import keep_first_layers

    return keep_first_layers(smol_model, tmp_path_factory.mktemp("models") / "smol", 2)


@pytest.fixture(scope="session")
def shared_pairs() -> Path:
    if not SHARED_PAIRS.exists():
        pytest.skip("the alpaca_eval pairs are not here")
    return SHARED_PAIRS


@pytest.fixture
def pairs_file(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS), encoding="utf-8")
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The path of a prefd home that does not exist yet."""
    return tmp_path / "home"


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Sets what the machine's clock shows to whoever renders a template."""
    from support.template_clock import clock_setter

    return clock_setter(monkeypatch)


@pytest.fixture
def answers_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of commands that show what a worker answers, and not that a process of its own does."""
    from support.answers_in_process import answer_in_process

    answer_in_process(monkeypatch)


@pytest.fixture
def known_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of numbers: which batches keep their bits is not tried, but they are as wide as they may be anywhere."""
    from prefd.daemon.worker.scoring import choose

    monkeypatch.setattr(choose, "find_plan_that_keeps_bits", lambda model, way, plans, keeps_bits: next(iter(plans)))


@pytest.fixture
def place(ready_home: Home, tmp_path: Path) -> Place:
    """A made home, whose daemon has stand-in workers and little patience."""
    return Place(ready_home, tmp_path, fake_worker.make_worker(tmp_path))


@pytest.fixture
def bench(ready_home: Home, tmp_path: Path) -> Iterator[Bench]:
    """A made home's job table, and supervisors of little patience for its jobs."""
    with JobTable.open(ready_home.database) as table:
        yield Bench(ready_home, table, fake_worker.make_worker(tmp_path), tmp_path)


@pytest.fixture
def ready_home(home: Path) -> Home:
    """A home with nothing in it."""
    ready_home = Home(home)
    ready_home.create()
    return ready_home


@pytest.fixture
def short_home() -> Iterator[Home]:
    """A home with nothing in it, whose socket has a path that is short enough wherever temporary folders lie."""
    with short_folder() as folder:
        ready_home = Home(folder / "home")
        ready_home.create()
        yield ready_home


@pytest.fixture
def four_jobs(home: Path) -> Home:
    """Job 1 done, 2 failed, 3 training, 4 queued."""
    there = Home(home)
    homes.add_done(there)
    homes.add_failed(there, name="all-bad")
    homes.add_running(there, name="half-way")
    homes.add_queued(there, name="next")
    return there
