"""HealthFinding is one line of `prefd doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class HealthFinding:
    """HealthFinding is what one check found, and the remedy where there is something to do."""

    level: Literal["ok", "warn", "fail"]
    subject: str
    detail: str
    remedy: str = ""
