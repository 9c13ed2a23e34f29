"""docs/compatibility.md names the versions of the formats as the code has them."""

from __future__ import annotations

import re
from importlib import import_module

import pytest

from prefd.cache import fingerprint, store
from prefd.cache.transfer import unpack
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.jobs import migrations
from prefd.daemon.worker.models import identity
from support.paths import ROOT

PAGE = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| (.+?) \| .+? \| (.+) \|$", PAGE, flags=re.MULTILINE))
VERSIONS = dict(re.findall(r"^\| (.+?) \| (.+?) \| .+ \|$", PAGE, flags=re.MULTILINE))


def only(text: str, table: dict[str, str]) -> str:
    """The cell of the one row whose first cell has `text`."""
    (cell,) = (value for name, value in table.items() if text in name)
    return cell


@pytest.mark.parametrize(
    ("row", "written"),
    [
        ("The cache (", f"`{store.FORMAT['format']}` {store.FORMAT['version']}"),
        ("`cache export`", f"`{unpack.FORMAT['format']}` {unpack.FORMAT['version']}"),
        ("The database", str(migrations.VERSION)),
    ],
)
def test_versions_are_those_of_the_code(row: str, written: str) -> None:
    assert only(row, VERSIONS) == written


def test_what_a_cached_number_depends_on_is_that_of_the_code() -> None:
    promise = only("The cache (", ROWS)
    assert f"`{fingerprint.KEY_SCHEMA}`" in promise
    assert f"the way of scoring ({identity.SCORING})" in promise


def test_exit_codes_are_those_of_the_code() -> None:
    assert [int(number) for number in re.findall(r"\b\d\b", only("Exit codes", ROWS))] == [*Exit]


def test_modules_that_may_be_imported_are_there() -> None:
    for row in ("Plugin API", "From Python"):
        names = re.findall(r"`([\w.]+)`", next(name for name in ROWS if row in name))
        assert len(names) >= 3
        for name in names:
            import_module(name if name.startswith("prefd.") else f"prefd.plugins.{name}")
