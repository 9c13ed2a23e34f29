"""A parametrized test's cases, of which a usual run takes some: the others are `thorough`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def thin(cases: Iterable[Any], often: Callable[[Any], bool]) -> list[Any]:
    """List `cases`, of several parameters as tuples; those that are not `often` run with `make test-all` alone."""
    return [case if often(case) else _mark_thorough(case) for case in cases]


def _mark_thorough(case: Any) -> Any:
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.thorough)
