"""Numbers that pages take from measurements are those of the files in benchmarks/."""

from __future__ import annotations

import re

import pytest

from support.paths import ROOT

TRAIN = (ROOT / "benchmarks" / "train.md").read_text(encoding="utf-8")
BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
COSTS = README.partition("\n## What it costs\n")[2].partition("\n## ")[0]


def list_rows(text: str) -> list[list[str]]:
    """The cells of each row of the tables in `text`."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def find_cells(text: str, beginning: str) -> list[str]:
    """The cells behind the first one of the first row that begins so."""
    return next(cells for name, *cells in list_rows(text) if name.startswith(beginning))


def list_numbers(text: str) -> list[str]:
    """The numbers with a decimal point; a version has two."""
    return re.findall(r"(?<![\d.])\d+\.\d+(?![\d.])", text)


def list_results() -> list[tuple[str, str]]:
    """(what is told, the file that has it measured) of each row that points to a result."""
    links = [
        (statement, re.search(r"\(\.\./benchmarks/(\w+\.md)\)", cells[0]))
        for statement, *cells in list_rows(BENCHMARKS)
    ]
    return [(statement, link[1]) for statement, link in links if link is not None and list_numbers(statement)]


@pytest.mark.parametrize(("statement", "file"), list_results())
def test_results_are_those_of_the_file_that_they_point_to(statement: str, file: str) -> None:
    measured = {float(number) for number in list_numbers((ROOT / "benchmarks" / file).read_text(encoding="utf-8"))}
    assert [number for number in list_numbers(statement) if float(number) not in measured] == []


@pytest.mark.parametrize("page", [COSTS, BENCHMARKS], ids=["README.md", "docs/benchmarks.md"])
def test_costs_are_those_that_were_measured(page: str) -> None:
    rows = list_rows(page.partition("live: adapter_off")[0])
    numbers = [number for _, *cells in rows for cell in cells for number in list_numbers(cell)]
    assert len(numbers) == 30
    assert set(numbers) <= set(list_numbers(TRAIN))


def test_time_in_all_is_that_which_was_measured() -> None:
    stored = find_cells(TRAIN, "`live: adapter_off`, kept")
    unstored = find_cells(TRAIN, "`live: adapter_off`, `store: false`")
    second_model, peer = find_cells(TRAIN, "a second model, at each step"), find_cells(TRAIN, "mlx-lm-lora 5.10.2")
    assert find_cells(BENCHMARKS, "`live: adapter_off`, kept") == find_cells(COSTS, "`reference: {live:") == stored
    assert find_cells(BENCHMARKS, "the adapter off") == find_cells(COSTS, "the adapter off") == unstored
    assert find_cells(BENCHMARKS, "a second model") == second_model
    assert find_cells(BENCHMARKS, "mlx-lm-lora") == peer
    assert find_cells(COSTS, "a second model") == [", ".join(pair) for pair in zip(second_model, peer)]
