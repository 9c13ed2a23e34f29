"""How much heat slows a Mac, and when jobs that are to rest then stop and go on."""

import sys

import pytest

from prefd.daemon.home.worker_limits import WorkerLimits
from prefd.daemon.machine import darwin, heat
from support.fake_libsystem import FakeLibrary, find_here


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakeLibrary:
    library = FakeLibrary(find_here)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(darwin, "load_library", lambda: library)
    return library


@pytest.mark.parametrize(("level", "word"), [(0, ""), (2, "heavy"), (9, "level 9"), (None, None)])
def test_thermal_pressure_has_macos_words(library: FakeLibrary, level: int | None, word: str | None) -> None:
    library.thermal_level = level
    assert heat.read_thermal_pressure() == word


@pytest.mark.parametrize(
    ("level", "stops", "keeps_from_starting"),
    [(None, False, False), (0, False, False), (1, False, True), (2, True, True), (3, True, True)],
)
def test_a_job_stops_at_heavy_pressure_and_goes_on_without_any(
    library: FakeLibrary, level: int | None, stops: bool, keeps_from_starting: bool
) -> None:
    library.thermal_level = level
    limits = WorkerLimits(pause_on_heat=True)
    assert (limits.explain_rest(is_running=True) is not None) == stops
    assert (limits.explain_rest(is_running=False) is not None) == keeps_from_starting
    assert WorkerLimits().explain_rest(is_running=True) is None, "it has to be asked for"
