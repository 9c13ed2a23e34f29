"""`prefd jobs`, `show`, `submit`, on homes made by hand and with no daemon running."""

from __future__ import annotations

import json
import shutil
import time
from datetime import datetime
from pathlib import Path

import pytest

from prefd.daemon.commands.jobs import find_jobs, print_submitted
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import STATES
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.specs.reading import SpecFile
from support import homes
from support.homes import invoke

pytestmark = pytest.mark.usefixtures("answers_in_process")


def test_jobs_lists_every_state_with_its_reason_or_progress(four_jobs: Home) -> None:
    lines = invoke(four_jobs, "jobs").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3", "4"]
    assert "done" in lines[1]
    assert "1m20s" in lines[1]
    assert "no row of /data/pairs.jsonl can be used" in lines[2]
    assert "4/12 steps (33%)" in lines[3]
    assert "next" in lines[4]


def test_jobs_can_be_narrowed(four_jobs: Home) -> None:
    shown = json.loads(invoke(four_jobs, "jobs", "--state", "failed", "--state", "queued", "--json").stdout)["jobs"]
    assert [job["id"] for job in shown] == [2, 4]
    newest = json.loads(invoke(four_jobs, "jobs", "--limit", 1, "--json").stdout)
    assert ([job["id"] for job in newest["jobs"]], newest["older"]) == ([4], 3)


def test_jobs_shows_the_newest_and_says_how_many_older_ones_there_are(four_jobs: Home) -> None:
    with JobTable.open(four_jobs.database) as table:
        table.add_all([homes.make_spec(name=f"many-{number}") for number in range(60)], "01-many.json")
    result = invoke(four_jobs, "jobs")
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == [str(number) for number in range(15, 65)]
    assert result.stderr == "14 older jobs not shown; --all shows all 64\n"
    cut = invoke(four_jobs, "jobs", "--json")
    assert ([job["id"] for job in json.loads(cut.stdout)["jobs"]], cut.stderr) == ([*range(15, 65)], result.stderr)
    assert "63 older jobs not shown" in invoke(four_jobs, "jobs", "--limit", 1).stderr
    assert "11 older jobs not shown; --all shows all 61" in invoke(four_jobs, "jobs", "--state", "queued").stderr


def test_all_jobs_are_shown_where_they_are_asked_for(four_jobs: Home) -> None:
    with JobTable.open(four_jobs.database) as table:
        table.add_all([homes.make_spec(name=f"many-{number}") for number in range(60)], "01-many.json")
    result = invoke(four_jobs, "jobs", "--all")
    assert (len(result.stdout.splitlines()), result.stderr) == (65, "")
    document = json.loads(invoke(four_jobs, "jobs", "--all", "--json").stdout)
    assert ([job["id"] for job in document["jobs"]], document["older"]) == ([*range(1, 65)], 0)
    assert invoke(four_jobs, "jobs", "--all", "--limit", 3).exit_code == Exit.USAGE


def test_an_empty_home_has_no_jobs_and_that_is_fine(home: Path) -> None:
    Home(home).create()
    result = invoke(Home(home), "jobs")
    assert result.exit_code == Exit.OK
    assert result.stdout == ""
    assert "prefd submit" in result.stderr
    assert json.loads(invoke(Home(home), "jobs", "--json").stdout) == {"schema": 1, "jobs": [], "older": 0}


def test_jobs_fit_eighty_columns(four_jobs: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, invoke(four_jobs, "jobs").stdout.splitlines())) <= 80


def test_show_tells_a_done_job_from_spec_to_adapter(four_jobs: Home) -> None:
    shown = invoke(four_jobs, "show", 1).stdout
    for part in [
        "smol-ipo",
        "done",
        "ipo (beta 0.1)",
        "lora of rank 8; 1 epoch, 2 pairs a batch; adamw at 5e-05; seed 0",
        "reference: 212 of 252 completions scored",
        "128 rows in format messages, 126 usable",
        "120 pairs to train on, 6 held out",
        "unusable: 2 × identical sides (pairs.jsonl:4, 17)",
        "48s; 12 steps",
        "0.6681 → 0.3931",
        "0.5333 → 0.9000",
        "loss 0.3931  accuracy 0.9000  margin 0.6000",
        str(four_jobs.job(1) / "adapter"),
    ]:
        assert part in shown, part
    begin = shown.index("history")
    assert [word for word in shown[begin:].split() if word in STATES][:4] == [
        *("queued", "precomputing", "training", "done")
    ]


def test_show_tells_why_a_job_failed(four_jobs: Home) -> None:
    shown = invoke(four_jobs, "show", 2)
    assert shown.exit_code == Exit.OK
    assert "reason" in shown.stdout
    assert "no row of /data/pairs.jsonl can be used" in shown.stdout
    assert "adapter" not in shown.stdout


def test_show_json_holds_the_whole_job(four_jobs: Home) -> None:
    document = json.loads(invoke(four_jobs, "show", 1, "--json").stdout)
    assert document["job"]["state"] == "done"
    assert document["spec"]["loss"] == {"name": "ipo", "beta": 0.1}
    assert [event["state"] for event in document["history"]] == ["queued", "precomputing", "training", "done"]
    assert document["precompute"]["summary"]["data"]["used"] == 120
    assert document["training"]["summary"]["steps"] == 12
    assert document["adapter"] == str(four_jobs.job(1) / "adapter")
    assert json.loads(invoke(four_jobs, "show", 3, "--json").stdout)["adapter"] is None


def test_show_of_a_job_that_is_not_there(four_jobs: Home) -> None:
    result = invoke(four_jobs, "show", 17)
    assert result.exit_code == Exit.NOT_FOUND
    assert "17" in result.stderr


def test_submit_without_a_daemon_puts_the_spec_into_the_folder(
    home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    there = Home(home)
    there.create()
    spec = homes.write_spec(tmp_path / "first.json", tiny_model, pairs_file)
    result = invoke(there, "submit", spec)
    assert result.exit_code == Exit.OK, result.output
    assert result.stdout == f"{there.jobs / 'first.json'}\n"
    assert "next `prefd start`" in result.stderr
    assert json.loads((there.jobs / "first.json").read_text())["model"] == str(tiny_model)


def test_submit_hands_in_none_when_one_is_wrong(home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path) -> None:
    there = Home(home)
    there.create()
    good = homes.write_spec(tmp_path / "good.json", tiny_model, pairs_file)
    bad = homes.write_spec(tmp_path / "bad.json", tiny_model, pairs_file, loss={"name": "sigmiod"})
    result = invoke(there, "submit", good, bad)
    assert result.exit_code == Exit.FAILED
    assert "bad.json" in result.stderr
    assert "sigmoid" in result.stderr
    assert not list(there.jobs.glob("*.json"))


def test_submit_says_of_all_specs_when_they_may_run(
    four_jobs: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    specs = [homes.write_spec(tmp_path / f"{name}.json", tiny_model, pairs_file, priority=1) for name in "ab"]
    options = ["--priority", 7, "--after", 3, "--after", 4, "--not-before", "2999-01-01 02:00"]
    assert invoke(four_jobs, "submit", *specs, *options).exit_code == Exit.OK
    for name in "ab":
        written = json.loads((four_jobs.jobs / f"{name}.json").read_text())
        assert (written["priority"], written["after"]) == (7, [3, 4])
        assert written["not_before"] == datetime(2999, 1, 1, 2).astimezone().isoformat(" ", "minutes")
    assert invoke(four_jobs, "validate", four_jobs.jobs / "a.json").exit_code == Exit.OK


def test_a_moment_is_of_the_time_zone_of_whoever_submits_it(
    four_jobs: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "EST5EDT,M3.2.0,M11.1.0")
    time.tzset()
    try:
        spec = homes.write_spec(tmp_path / "night.json", tiny_model, pairs_file, not_before="2999-01-01 02:00")
        validated = invoke(four_jobs, "validate", "--no-data", spec)
        submitted = invoke(four_jobs, "submit", spec)
        skipped = invoke(four_jobs, "submit", spec, "--not-before", "2999-03-10 02:30")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "not before 2999-01-01 02:00-05:00" in validated.stdout
    assert "night.json: not_before: 2999-01-01 02:00 has no offset: it is 2999-01-01 02:00-05:00" in submitted.stderr
    assert json.loads((four_jobs.jobs / "night.json").read_text())["not_before"] == "2999-01-01 02:00-05:00"
    assert "--not-before: 2999-03-10 02:30 is not on the clocks here" in skipped.stderr


def test_what_a_job_waits_for_is_told_in_the_time_zone_of_whoever_looks(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = homes.add_queued(ready_home, not_before="2999-01-01 07:00Z")
    with JobTable.open(ready_home.database) as table:
        table.set_waiting_reasons({job.id: "not before 2999-01-01 07:00+00:00"})  # as a daemon with TZ=UTC writes it
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    try:
        listed, shown = invoke(ready_home, "jobs"), invoke(ready_home, "show", job.id)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "not before 2999-01-01 02:00-05:00" in listed.stdout
    assert "waiting    not before 2999-01-01 02:00-05:00" in shown.stdout


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--after", 9], Exit.NOT_FOUND, "after: there is no job 9"),
        (["--after", 2], Exit.FAILED, "job 2 is failed, so this one would fail; `prefd retry 2` first"),
        (["--not-before", "soon"], Exit.USAGE, "expected a date and time"),
        (["--priority", "high"], Exit.USAGE, "high"),
    ],
)
def test_submit_hands_in_none_that_could_never_run(
    four_jobs: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path, options: list[object], code: Exit, message: str
) -> None:
    result = invoke(four_jobs, "submit", homes.write_spec(tmp_path / "a.json", tiny_model, pairs_file), *options)
    assert result.exit_code == code
    assert message in result.stderr
    assert not list(four_jobs.jobs.glob("*.json"))


def test_what_a_job_waits_for_is_shown(four_jobs: Home) -> None:
    with JobTable.open(four_jobs.database) as table:
        table.set_waiting_reasons({4: "waits for job 3"})
    assert invoke(four_jobs, "jobs", "--state", "queued").stdout.rstrip().endswith("waits for job 3")
    assert "waits for job 3" in invoke(four_jobs, "show", 4).stdout


def test_the_jobs_of_a_sweep_stand_together(four_jobs: Home) -> None:
    with JobTable.open(four_jobs.database) as table:
        specs = [homes.make_spec(name=f"many-{number}", group="many") for number in (1, 2)]
        table.add_all(specs, "01-many.json", descriptions=["loss.beta 0.1", "loss.beta 0.2"])
    lines = invoke(four_jobs, "jobs", "--group", "many").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["5", "6"]
    assert lines[2].strip().endswith("loss.beta 0.2")
    shown = invoke(four_jobs, "show", 6).stdout
    assert "group" in shown
    assert "loss.beta 0.2" in shown
    assert "no such job in group few" in invoke(four_jobs, "jobs", "--group", "few").stderr


def test_submit_hands_a_sweep_in_as_one_file(home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path) -> None:
    there = Home(home)
    there.create()
    spec = homes.write_spec(
        tmp_path / "many.json", tiny_model, Path(pairs_file.name), sweep={"loss.name": ["ipo", "cpo"]}
    )
    submitted = json.loads(invoke(there, "submit", spec, "--json").stdout)["submitted"]
    assert [(each["name"], each["settings"], each["job"]) for each in submitted] == [
        *(("many-1", "loss.name ipo", None), ("many-2", "loss.name cpo", None))
    ]
    (file,) = there.jobs.glob("*.json")
    written = json.loads(file.read_text())
    assert written["sweep"] == {"loss.name": ["ipo", "cpo"]}
    assert written["data"]["path"] == str(pairs_file)


def test_submit_tells_every_job_that_a_file_became(
    four_jobs: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = tuple(homes.make_spec(name=f"many-{number}") for number in (1, 2))
    with JobTable.open(four_jobs.database) as table:
        table.add_all(specs, "01JABCDEFGHJKMNPQRSTVWXYZ0-many.json")
        table.add(homes.make_spec(), "01JABCDEFGHJKMNPQRSTVWXYZ1-one.json")
    files = [four_jobs.jobs / "many.json", four_jobs.jobs / "one.json"]
    assert find_jobs(four_jobs, files, since=0.0, seconds=60) == {files[0]: [5, 6], files[1]: [7]}
    print_submitted(SpecFile("many.yaml", specs, ("a", "b"), sweep={}), files[0], [5, 6])
    print_submitted(SpecFile("one.yaml", specs[:1]), files[1], [7])
    print_submitted(SpecFile("one.yaml", specs[:1]), files[1], None)
    assert capsys.readouterr().out.splitlines() == [
        *("job 5  many-1  a", "job 6  many-2  b", "job 7  one.json", str(files[1]))
    ]


def test_submit_takes_a_group_and_ranges_of_jobs_to_run_after(
    four_jobs: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path
) -> None:
    spec = homes.write_spec(tmp_path / "a.json", tiny_model, pairs_file)
    result = invoke(four_jobs, "submit", spec, "--group", "night", "--after", "3-9", "--after", 1)
    assert result.exit_code == Exit.OK, result.output
    [dropped] = four_jobs.jobs.glob("*.json")
    document = json.loads(dropped.read_text(encoding="utf-8"))
    assert (document["group"], document["after"]) == ("night", [3, 4, 1])
    assert invoke(four_jobs, "submit", spec, "--after", "7-9").exit_code == Exit.NOT_FOUND


def test_a_job_that_nobody_works_on_is_not_shown_as_if_it_ran(four_jobs: Home, tmp_path: Path) -> None:
    shutil.copytree(four_jobs.root, tmp_path / "copy", symlinks=True)
    copy = Home(tmp_path / "copy")
    for command in (("jobs",), ("show", 3), ("status",)):
        away = " ".join(invoke(four_jobs, *command).output.split())
        assert "not running, for no daemon does: it goes on with `prefd start" in away
        copied = " ".join(invoke(copy, *command).output.split())
        assert f"not running here, but in {four_jobs.root} when" in copied
    third = json.loads(invoke(copy, "jobs", "--json").stdout)["jobs"][2]
    assert third["unattended"].endswith("it is paused here when the daemon starts")
    assert [job["unattended"] for job in json.loads(invoke(copy, "jobs", "--json").stdout)["jobs"]].count("") == 3
