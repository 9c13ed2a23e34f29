"""What an encoder makes of a pair, as text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from prefd.daemon.worker.data.prompts import Settings
from prefd.daemon.worker.data.tokens import Completion, Encoder
from prefd.plugins.types import Pair, UnusableRow

Load = Callable[..., Any]
"""Loads the tokenizer of a tiny model with a template, as a job has it."""


def settings(date: str = "2024-07-26", **rest: Any) -> Settings:
    return Settings(datetime.fromisoformat(date), **rest)


def encoded(tokenizer: Any, pair: Pair, settings: Settings | None = None) -> tuple[tuple[str, str], list[str]]:
    """Prompt and chosen answer as text, and the notes."""
    encoder = Encoder(tokenizer, 1000, settings)
    return texts(tokenizer, encoder.encode(pair, 1).chosen), encoder.notes()


def texts(tokenizer: Any, side: Completion) -> tuple[str, str]:
    ids = side.ids.tolist()
    return tokenizer.decode(ids[: side.start]), tokenizer.decode(ids[side.start :])


def own(tokenizer: Any, side: Completion) -> list[str]:
    """The stretches of an answer that count, as text."""
    ids = side.ids[side.start :].tolist()
    stretches: list[list[int]] = []
    for index, token in enumerate(ids):
        if side.own[index]:
            if index == 0 or not side.own[index - 1]:
                stretches.append([])
            stretches[-1].append(token)
    return [tokenizer.decode(stretch) for stretch in stretches]


def reason(tokenizer: Any, pair: Pair, settings: Settings | None = None) -> str:
    with pytest.raises(UnusableRow) as caught:
        Encoder(tokenizer, 1000, settings).encode(pair, 1)
    return str(caught.value)
