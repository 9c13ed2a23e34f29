from __future__ import annotations

import io
import json
import math
import sys
import time

import pytest

from prefd.daemon.terminal import render
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.times import format_clock, format_duration
from prefd.daemon.text.wording import format_number


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (12_345, "12.3 kB"), (999_700, "1 MB"), (4.56e9, "4.56 GB")],
)
def test_size_has_three_digits_and_a_unit(count: float, shown: str) -> None:
    assert format_size(count) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0.0s"),
        (0.42, "0.4s"),
        (9.99, "10s"),
        (59.7, "1m00s"),
        (187, "3m07s"),
        (7500, "2h05m"),
        (4 * 86400 + 3600, "4d01h"),
    ],
)
def test_duration_rounds_up_into_the_next_unit(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0, "0"),
        (17, "17"),
        (0.0, "0.0000"),
        (0.69314718, "0.6931"),
        (-123.456, "-123.46"),
        (63.2, "63.20"),
        (-1234.56, "-1234.6"),
        (10391.6, "10392"),
        (1e-5, "1.00e-05"),
        (2.5e7, "2.500e+07"),
        (math.nan, "nan"),
    ],
)
def test_number_keeps_what_a_metric_needs(value: float | None, shown: str) -> None:
    assert format_number(value) == shown


def test_clock_leaves_out_todays_date() -> None:
    now = time.time()
    assert len(format_clock(now)) == len("12:34:56")
    assert format_clock(0.0).startswith(("1970-01-01", "1969-12-31"))
    assert format_clock(None) == "-"


def test_emit_json_has_a_schema_and_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    render.emit_json({"loss": math.nan, "rows": [math.inf, 1.0], "nested": {"ok": None}})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"schema": 1, "loss": None, "rows": [None, 1.0], "nested": {"ok": None}}
    assert "NaN" not in printed


def test_a_table_in_a_pipe_is_neither_cut_nor_wrapped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    render.open_stdout().print(render.make_table(["id", "path"], [("1", "x" * 300)], right=["id"]))
    assert "x" * 300 in capsys.readouterr().out.splitlines()[1]


@pytest.mark.parametrize("columns", [None, "40"])
def test_lines_into_a_pipe_do_not_end_in_blanks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str | None
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    console = render.open_stdout()
    console.print(render.make_facts([("model", "short"), ("", "a longer value"), ("data", "x")]))
    console.print(render.make_table(["name", "what"], [("a", "short"), ("bcd", "a longer one")]))
    assert capsys.readouterr().out.splitlines() == [
        *("model  short", "       a longer value", "data   x"),
        *("name  what", "a     short", "bcd   a longer one"),
    ]


class Terminal(io.StringIO):
    """A stderr that somebody looks at."""

    def isatty(self) -> bool:
        return True


def test_what_is_at_work_is_shown_on_a_terminal_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for stderr, is_shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stderr)
        with render.show_busy("drift"):
            pass
        assert ("drift …" in stderr.getvalue()) == is_shown
