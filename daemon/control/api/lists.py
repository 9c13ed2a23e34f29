"""The types of a URL's parameters that are lists: given several times, or once with commas."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator


def _split(values: list[str]) -> list[str]:
    return [part.strip() for value in values for part in str(value).split(",") if part.strip()]


Words = Annotated[list[str], BeforeValidator(_split)]
JobNumbers = Annotated[list[int], BeforeValidator(_split)]
