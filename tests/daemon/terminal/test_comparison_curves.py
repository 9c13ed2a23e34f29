from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.colors import to_hex

from prefd.daemon.terminal.comparison_curves import COLORS, STYLES, Line, _assign_looks, _draw_panel, plot_jobs
from prefd.daemon.terminal.curves import new_figure
from support.homes import metric_rows


def test_each_job_has_a_look_of_its_own() -> None:
    jobs = [Line(str(number), []) for number in range(len(COLORS) * len(STYLES))]
    assert len({(color, style) for _, color, style in _assign_looks(jobs)}) == len(jobs)


def test_training_is_a_line_and_held_out_pairs_are_dots_of_its_colour() -> None:
    axis = new_figure("", (4, 3)).subplots()
    assert _draw_panel(axis, "rewards/margins", [Line("a", metric_rows()), Line("b", metric_rows()[:4])])
    drawn = [line for line in axis.lines if len(line.get_xdata()) > 1 and line.get_linestyle() != ":"]  # type: ignore[arg-type]
    assert [to_hex(line.get_color()) for line in drawn] == [COLORS[0], COLORS[0], COLORS[1]]
    assert [len(line.get_xdata()) for line in drawn] == [12, 2, 4]  # type: ignore[arg-type]
    assert drawn[1].get_marker() == "o"
    assert axis.get_xlabel() == "step"
    assert axis.get_ylabel() == "chosen − rejected"


@pytest.mark.parametrize("metrics", [["loss"], ["eval_loss", "loss", "its_own"]], ids=len)
def test_a_job_without_rows_is_drawn_around(tmp_path: Path, metrics: list[str]) -> None:
    plot_jobs([Line("a", metric_rows(40)), Line("b", []), Line("c", [{"step": 1}])], metrics, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
