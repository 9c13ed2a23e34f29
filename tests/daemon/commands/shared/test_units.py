from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import pytest

from prefd.daemon.commands.shared.units import Sample, duration, sample, size


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (size, "2GB", 2_000_000_000),
        (size, "500 mb", 500_000_000),
        (size, "1.5GiB", 1_610_612_736),
        (size, "10k", 10_000),
        (size, "2Gi", 2_147_483_648),
        (size, " 1.5 T ", 1_500_000_000_000),
        (size, "7b", 7),
        (size, "0", 0),
        (duration, "30d", 2_592_000.0),
        (duration, "1.5h", 5400.0),
        (duration, "90", 90.0),
        (sample, "200", Sample(200, False)),
        (sample, "2.5%", Sample(2.5, True)),
    ],
)
def test_a_value_with_its_unit(parse: Callable[[str], Any], text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "texts"),
    [
        (size, ["", "GB", "2XB", "-1GB", "1e9", "8,5GB", "1.5.5", "2 GB or so", "1_000", "i"]),
        (duration, ["soon", "30y", "-1d", "1h30m"]),
        (sample, ["0", "0%", "101%", "1.5", "x", "5 %"]),
    ],
)
def test_what_is_no_value_is_refused_with_an_example(parse: Callable[[str], Any], texts: list[str]) -> None:
    for text in texts:
        with pytest.raises(click.BadParameter, match="give "):
            parse(text)
