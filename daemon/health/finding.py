"""One line of `prefd doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class HealthFinding:
    level: Literal["ok", "warn", "fail"]
    subject: str
    detail: str
    remedy: str = ""
