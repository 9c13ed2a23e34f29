from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.store import ReferenceCache
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from support.homes import invoke

SMALL = ReferenceFingerprint({"weights": "a" * 64, "dtype": "float32"}, {"model": "/models/small", "mlx": "0.32.4"})
LARGE = ReferenceFingerprint({"weights": "b" * 64, "dtype": "float32"}, {"model": "org/large"})


@pytest.fixture
def ready_home(home: Path) -> Home:
    """Two references; the small one holds three completions of 1, 2 and 3 tokens."""
    there = Home(home)
    there.create()
    cache = ReferenceCache.open(there.cache)
    cache.reference(SMALL).put({bytes([index]) * 32: np.full(index + 1, -0.5, dtype=np.float32) for index in range(3)})
    cache.reference(LARGE)
    return there


def line_of(output: str, fingerprint: ReferenceFingerprint) -> str:
    return next(line for line in output.splitlines() if line.startswith(fingerprint.name[:12]))


def test_ls_has_a_line_for_each_reference(ready_home: Home) -> None:
    shown = invoke(ready_home, "cache", "ls").stdout
    small = line_of(shown, SMALL).split()
    assert small[1:3] == ["3", "6"]
    assert small[-2:] == ["1", "small"], "a folder by its name alone"
    assert line_of(shown, LARGE).split()[1:] == ["0", "0", "0", "B", "0", "org/large"]


def test_ls_json_has_the_numbers_and_the_identity(ready_home: Home) -> None:
    references = json.loads(invoke(ready_home, "cache", "ls", "--json").stdout)["references"]
    small = next(each for each in references if each["fingerprint"] == SMALL.name)
    assert (small["entries"], small["tokens"], small["segments"], small["damaged"]) == (3, 6, 1, [])
    assert small["bytes"] > 0
    assert small["identity"]["weights"] == "a" * 64
    assert small["model"] == "/models/small"


def test_show_finds_a_reference_by_the_start_of_its_fingerprint(ready_home: Home) -> None:
    shown = invoke(ready_home, "cache", "show", SMALL.name[:6].upper()).stdout
    assert SMALL.name in shown
    assert "3 completions, 6 tokens" in shown
    assert f"weights: {'a' * 64}" in shown
    assert "model: /models/small" in shown
    assert LARGE.name not in shown
    assert LARGE.name in invoke(ready_home, "cache", "show").stdout


def test_show_of_an_unknown_fingerprint(ready_home: Home) -> None:
    result = invoke(ready_home, "cache", "show", "zz")
    assert result.exit_code == Exit.NOT_FOUND
    assert "prefd cache ls" in result.stderr


def test_an_empty_cache_is_said_to_be_empty_and_stays_so(home: Path) -> None:
    there = Home(home)
    there.create()
    for command in ("ls", "show"):
        result = invoke(there, "cache", command)
        assert result.exit_code == Exit.OK
        assert "empty" in result.stderr
    assert json.loads(invoke(there, "cache", "ls", "--json").stdout)["references"] == []
    assert not list(there.cache.iterdir()), "reading makes nothing"


def test_damage_is_shown(ready_home: Home) -> None:
    segment = next((ready_home.cache / "refs" / SMALL.name / "segments").iterdir())
    (segment / "zarr.json").write_text("{")
    result = invoke(ready_home, "cache", "ls")
    assert result.exit_code == Exit.OK
    assert "[1 damaged]" in line_of(result.stdout, SMALL)
    assert "scored again" in result.stderr
    assert segment.name in invoke(ready_home, "cache", "show", SMALL.name).stdout


def test_a_folder_that_is_no_cache_is_refused_by_name(ready_home: Home) -> None:
    (ready_home.cache / "zarr.json").write_text('{"attributes": {"format": "something else"}}')
    result = invoke(ready_home, "cache", "ls")
    assert result.exit_code == Exit.FAILED
    assert str(ready_home.cache) in result.stderr
    assert "Traceback" not in result.stderr
