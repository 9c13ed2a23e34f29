"""`prefd edit`, on homes made by hand and with no daemon running."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.specs.job_spec import JobSpec
from support import homes
from support.homes import invoke


@pytest.fixture
def waits(ready_home: Home) -> Home:
    """Jobs 1 and 2, which wait."""
    homes.add_queued(ready_home, name="one")
    homes.add_queued(ready_home, name="two")
    return ready_home


def spec_of(home: Home, job_id: int) -> JobSpec:
    with JobTable.open_readonly(home.database) as table:
        return table.spec(job_id)


def edits_with(monkeypatch: pytest.MonkeyPatch, folder: Path, *steps: str) -> None:
    """An $EDITOR that does the next of `steps`, each Python on the text `t`, and leaves the file alone after the last."""
    script, counter = folder / "editor.py", folder / "count"
    counter.write_text("0")
    script.write_text(
        "import os, sys\nfrom pathlib import Path\n"
        f"steps, counter = {list(steps)!r}, Path({str(counter)!r})\n"
        "n = int(counter.read_text()); counter.write_text(str(n + 1))\n"
        "path = Path(sys.argv[1]); t = path.read_text(); scope = {'t': t}\n"
        "if n < len(steps):\n exec(steps[n], scope); path.write_text(scope['t']); os.utime(path, (n + 9, n + 9))\n"
    )
    monkeypatch.setenv("EDITOR", f"{sys.executable} {script}")
    monkeypatch.delenv("VISUAL", raising=False)


def test_settings_are_changed_by_options_of_one_job_or_of_several(waits: Home) -> None:
    result = invoke(waits, "edit", "1-2", "--priority", 5, "--group", "night")
    assert result.exit_code == Exit.OK, result.output
    assert result.stdout.splitlines() == [
        "job 1 (one): group none → night; priority 0 → 5",
        "job 2 (two): group none → night; priority 0 → 5",
    ]
    assert invoke(waits, "edit", 2, "--after", 1, "--name", "last").stdout == (
        "job 2 (last): name two → last; after none → job 1\n"
    )
    assert invoke(waits, "edit", 2, "--after", 1).stdout == "job 2 (last): as it was\n", "not what was changed before"
    assert "the name is empty" in invoke(waits, "edit", 2, "--name", " ").stderr
    document = json.loads(invoke(waits, "edit", 2, "--after", "none", "--group", "none", "--json").stdout)
    assert (document["jobs"][0]["after"], document["jobs"][0]["group"]) == ([], "")
    assert spec_of(waits, 2).after == []


def test_a_moment_is_set_and_taken_out_again(waits: Home) -> None:
    assert "not_before none → 2099-01-01 02:00" in invoke(waits, "edit", 1, "--not-before", "2099-01-01 02:00").stdout
    assert spec_of(waits, 1).not_before is not None
    assert invoke(waits, "edit", 1, "--not-before", "none").exit_code == Exit.OK
    assert spec_of(waits, 1).not_before is None
    assert invoke(waits, "edit", 1, "--not-before", "soon").exit_code == Exit.USAGE


def test_place_and_priority_are_in_the_list_and_it_is_sorted_by_them(waits: Home) -> None:
    invoke(waits, "edit", 2, "--priority", 5)
    lines = invoke(waits, "jobs", "--sort", "place").stdout.splitlines()
    assert lines[0].split()[:4] == ["id", "state", "place", "prio"]
    assert next(line.split()[:4] for line in lines[1:]) == ["2", "queued", "1", "5"]
    places = {job["id"]: job["place"] for job in json.loads(invoke(waits, "jobs", "--json").stdout)["jobs"]}
    assert places == {1: 2, 2: 1}


def test_what_is_refused_is_told(waits: Home) -> None:
    homes.add_done(waits, name="done")
    assert "job 3 has ended (done)" in invoke(waits, "edit", 3, "--priority", 1).stderr
    assert invoke(waits, "edit", 9, "--priority", 1).exit_code == Exit.NOT_FOUND
    assert invoke(waits, "edit", "1-2", "--name", "x").exit_code == Exit.USAGE
    assert invoke(waits, "edit", 1, "--priority", 1001).exit_code == Exit.USAGE
    assert "name: must" in invoke(waits, "edit", 1, "--name", "x" * 300).stderr


def test_the_spec_is_edited_in_the_editor(waits: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edits_with(monkeypatch, tmp_path, "t = t.replace('beta: 0.1', 'beta: 0.3')")
    monkeypatch.setattr("prefd.daemon.commands.edit.edit_job", edit_without_losses)
    result = invoke(waits, "edit", 1)
    assert (result.exit_code, result.stdout) == (Exit.OK, "job 1 (one): loss.beta 0.1 → 0.3\n")
    assert spec_of(waits, 1).losses["loss"].params == {"beta": 0.3}


def test_a_spec_that_cannot_be_taken_is_opened_again_with_what_is_wrong(
    waits: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen"
    second = f"import pathlib; pathlib.Path({str(seen)!r}).write_text(t); t = t.replace('betta: 0.5', 'beta: 0.2')"
    edits_with(
        monkeypatch,
        tmp_path,
        "t = t.replace('training:', 'trainning:')",
        second.replace("betta: 0.5", "trainning:").replace("beta: 0.2", "training: "),
    )
    monkeypatch.setattr("prefd.daemon.commands.edit.edit_job", edit_without_losses)
    result = invoke(waits, "edit", 1)
    assert result.exit_code == Exit.OK, result.output
    assert "is left as it was" in result.stderr
    assert "#: It cannot be taken so:\n#:   line " in seen.read_text()
    assert "trainning: unknown key; did you mean training?" in seen.read_text()


def test_leaving_the_editor_without_a_change_changes_nothing(
    waits: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits_with(monkeypatch, tmp_path)
    assert "job 1 (one) is left as it was" in invoke(waits, "edit", 1).stderr
    edits_with(monkeypatch, tmp_path, "t = t.replace('training:', 'trainning:')")
    result = invoke(waits, "edit", 1)
    assert result.exit_code == Exit.FAILED
    assert "the spec was not changed after its errors were shown; nothing was taken" in result.stderr
    assert spec_of(waits, 1).training is not None


def test_a_file_takes_the_specs_place_and_the_jobs_own_name_and_place_in_the_queue_stay(
    waits: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path, answers_in_process: None
) -> None:
    invoke(waits, "edit", 1, "--priority", 5)
    path = homes.write_spec(tmp_path / "other.json", tiny_model, pairs_file)
    result = invoke(waits, "edit", 1, "--spec", path)
    assert result.exit_code == Exit.OK, result.output
    assert result.stdout.startswith("job 1 (one): model org/small-model → ")
    spec = spec_of(waits, 1)
    assert (spec.name, spec.priority, spec.model, spec.data.max_length) == ("one", 5, str(tiny_model), 128)


def edit_without_losses(home: Home, job_id: int, request: dict[str, object]) -> object:
    """The edit as it is made where no daemon runs, with no plugin listed: these tests are not of losses and paths."""
    from prefd.daemon.jobs.table import JobTable

    with JobTable.open(home.database) as table:
        base = JobSpec.model_validate(request["base"])
        return table.edit(job_id, JobSpec.model_validate(request["spec"]), base)


def test_of_a_range_those_that_wait_are_changed_and_the_others_told(waits: Home) -> None:
    homes.add_done(waits, name="done")
    homes.add_queued(waits, name="four")
    result = invoke(waits, "edit", "1-4", "--priority", 5)
    assert result.exit_code == Exit.OK, result.output
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["1", "2", "4"]
    assert result.stderr == "job 3: done, and left as it is\n"
    assert invoke(waits, "edit", "3-3", "--priority", 5).exit_code == Exit.FAILED, "it was named by itself"


def test_where_one_cannot_be_edited_none_is(waits: Home) -> None:
    homes.add_done(waits, name="done")
    assert "job 3 has ended (done)" in invoke(waits, "edit", 1, 3, "--priority", 5).stderr
    assert spec_of(waits, 1).priority == 0


def test_after_takes_ranges_and_a_job_that_was_done_and_removed(waits: Home) -> None:
    homes.add_done(waits, name="done")
    homes.add_queued(waits, name="last")
    invoke(waits, "rm", 3)
    result = invoke(waits, "edit", 4, "--after", "1-2", "--after", 3)
    assert result.exit_code == Exit.OK, result.output
    assert spec_of(waits, 4).after == [1, 2, 3]
    assert "after: there are no jobs 7-9" in invoke(waits, "edit", 4, "--after", "7-9").stderr
