"""`prefd report` sends a finished job's rows, once, and says how far each report is; `prefd show` says it too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.report_files import ReportFiles, ReportState
from prefd.daemon.runs.run_folder import RunDir
from support import homes
from support.answers_in_process import answer_in_process
from support.reported_runs import KEEPER, line, write_lines


@pytest.fixture
def done(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with a job that is done, and the plugin `KEEPER`."""
    (ready_home.root / "keeper.py").write_text(KEEPER)
    ready_home.config.write_text('plugins = ["keeper.py"]\n[report]\nproject = "mine"\n')
    homes.add_done(ready_home)
    write_lines(RunDir(ready_home.job(1)).metrics, line(1), line(2), line(2, held_out=True))
    answer_in_process(monkeypatch)
    return ready_home


def test_a_finished_job_is_sent_once_and_its_end_with_it(done: Home) -> None:
    for _ in range(2):
        sent = homes.invoke(done, "report", 1, "--to", "keeper")
        assert (sent.exit_code, sent.stdout) == (0, "keeper: to step 2, evaluated to step 2, done; a file\n"), (
            sent.output
        )
    rows: Path = done.job(1) / "reports" / "keeper" / "rows.jsonl"
    assert [json.loads(each)[0] for each in rows.read_text().splitlines()] == [1, 2, 2, "end", "end"]
    assert (rows.parent / "runs.txt").read_text().splitlines()[0].endswith(" mine")


def test_failures_are_told_each_and_nothing_of_the_others_is_lost(done: Home) -> None:
    sent = homes.invoke(done, "report", 1, "--to", "broken", "--to", "keeper", "--to", "nowhere")
    assert sent.exit_code == Exit.FAILED
    assert "broken: log of the reporter broken raised ConnectionError: no route to host" in sent.stderr
    assert "no reporter is called 'nowhere'; known: broken, keeper" in sent.stderr
    assert "keeper: to step 2" in sent.stdout


def test_reports_are_listed_with_what_went_wrong_here_and_in_show(done: Home) -> None:
    assert "job 1 was reported to no tool" in homes.invoke(done, "report", 1).stderr
    state = ReportState("trackio", place="trackio show", train=4, rows=4, state="left open", error="no route to host")
    ReportFiles(RunDir(done.job(1)), "trackio").write(state)
    listed = homes.invoke(done, "report", 1)
    assert listed.stdout == "trackio: to step 4, left open; trackio show\n"
    assert "trackio: no route to host" in listed.stderr
    assert json.loads(homes.invoke(done, "report", 1, "--json").stdout)["reports"][0]["train"] == 4
    shown = homes.invoke(done, "show", 1).stdout
    assert "trackio: to step 4, left open; trackio show" in shown
    assert "the report to trackio: no route to host" in shown
