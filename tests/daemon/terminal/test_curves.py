from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest

from prefd.daemon.terminal.curves import Row, plot
from support.homes import metric_rows

TRAIN = [row for row in metric_rows(120) if "loss" in row]
EVALS = [row for row in metric_rows(120) if "eval_loss" in row]


def png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


@pytest.mark.parametrize(
    ("train", "evals"),
    [
        (TRAIN, EVALS),
        (TRAIN[:9], EVALS[:1]),
        (TRAIN[:1], []),
        ([], EVALS),
        ([{"step": 1, "loss": math.nan}, {"step": 2, "loss": 0.5}], []),
        ([{"step": 1}], []),
    ],
    ids=["long", "short", "one step", "only held out", "nan", "no numbers"],
)
def test_plot_draws_whatever_was_logged(tmp_path: Path, train: list[Row], evals: list[Row]) -> None:
    plot(train, evals, "smol-ipo · ipo (beta 0.1)", tmp_path / "curves.png")
    width, height = png_size(tmp_path / "curves.png")
    assert width > 1000
    assert height > 600


def test_plot_says_where_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="curves"):
        plot(TRAIN[:2], [], "x", tmp_path / "not there" / "curves.png")
