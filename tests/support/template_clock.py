"""The clock that a chat template reads, set to a moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from transformers.utils import chat_template_utils

SetClock = Callable[[str], None]


def clock_setter(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Sets what the machine's clock shows to whoever renders a template."""

    def set_clock(moment: str) -> None:
        class Fake(datetime):
            @classmethod
            def now(cls, tz: object = None) -> Fake:
                return cls.fromisoformat(moment)

        monkeypatch.setattr(chat_template_utils, "datetime", Fake)

    return set_clock
