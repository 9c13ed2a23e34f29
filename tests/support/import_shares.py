"""Has the test modules compiled once in a run from nothing, although each of pytest-xdist's processes imports all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from support.paths import ROOT


def import_own_share(session: pytest.Session) -> None:
    """Import this process's share of the test modules, before it collects all of them in their order.

    The processes begin together. In one order, each would compile a module, and rewrite its asserts, at the moment when the
    others do; so each finds on the disk what the others have compiled. Nothing is done where fewer than all tests are collected.
    """
    if "PYTEST_XDIST_WORKER" in os.environ and session.config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        own, count = os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw"), os.environ["PYTEST_XDIST_WORKER_COUNT"]
        import_modules(session, list_share(sorted((ROOT / "tests").rglob("test_*.py")), int(own), int(count)))


def list_share(paths: Sequence[Path], own: int, count: int) -> Sequence[Path]:
    """List what lies from `own` / `count` of the paths to the next share."""
    return paths[own * len(paths) // count : (own + 1) * len(paths) // count]


def import_modules(session: pytest.Session, paths: Sequence[Path]) -> None:
    """Import test modules as the collection does; it comes again upon one that cannot be imported, and tells of it."""
    for path in paths:
        with suppress(Exception, pytest.skip.Exception):
            _ = pytest.Module.from_parent(session, path=path).obj
            continue
        sys.modules.pop(".".join(path.relative_to(session.config.rootpath).with_suffix("").parts), None)
