import pytest
from rich.console import Console

from prefd.daemon import columns, render
from prefd.daemon.columns import emit, lines

NAMES = ["id", "name", "why"]
ROWS = [("1", "smol", "two\nlines"), ("20", "日本語", ""), ("300", "é", "x" * 30)]


def test_it_is_what_rich_makes_of_a_pipe() -> None:
    console = Console(width=render.PIPE_WIDTH, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(render.table(NAMES, [(a, b, render.one_line(c)) for a, b, c in ROWS], right=["id"]))
    assert [line.rstrip() for line in capture.get().splitlines()] == list(lines(NAMES, ROWS, ["id"]))


def test_no_line_is_wider_than_the_terminal() -> None:
    assert list(lines(NAMES, ROWS, ["id"], width=12)) == [" id  name  …", "  1  smol  …", " 20  日本語", "300  é     …"]


@pytest.mark.parametrize("many", [0, 200])
def test_few_rows_and_many_say_the_same(
    many: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(columns, "MANY", many)
    emit(NAMES, ROWS, ["id"], lambda row: (row[0], row[1], render.one_line(row[2])))
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == list(lines(NAMES, ROWS, ["id"]))
