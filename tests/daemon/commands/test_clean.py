"""`prefd clean`: what it decides is what it does, and a dry run does nothing."""

from __future__ import annotations

import json
import time

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.removals import NotRemovable
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.runs.disk_usage import RunSize
from support import homes
from support.homes import invoke

DAY = 86_400


@pytest.fixture
def old(ready_home: Home) -> Home:
    """Jobs 1 (done, 40 days ago), 2 (failed, 20), 3 (done, 10) with checkpoints and fused models, and 4, which waits."""
    homes.add_done(ready_home, name="oldest")
    homes.add_failed(ready_home, name="bad")
    homes.add_done(ready_home, name="newest")
    homes.add_queued(ready_home, name="waits")
    for job_id in (1, 2, 3):
        for part in ("checkpoints/step-00000010", "fused", "attempts/1/checkpoints/step-00000005"):
            (ready_home.job(job_id) / part).mkdir(parents=True)
            (ready_home.job(job_id) / part / "weights").write_bytes(b"x" * 20_000)
    with JobTable.open(ready_home.database) as table:
        for job_id, days in ((1, 40), (2, 20), (3, 10)):
            table._db.execute("UPDATE jobs SET finished_at = ? WHERE id = ?", (time.time() - days * DAY, job_id))
    return ready_home


def ids(home: Home) -> list[int]:
    with JobTable.open_readonly(home.database) as table:
        return [job.id for job in table.list()]


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["--older-than", "30d"], [2, 3, 4]),
        (["--older-than", "15d"], [3, 4]),
        (["--keep", "1"], [3, 4]),
        (["--keep", "0"], [4]),
        (["--keep", "9"], [1, 2, 3, 4]),
        (["--older-than", "15d", "--keep", "2"], [2, 3, 4]),
        (["--older-than", "15d", "--state", "failed"], [1, 3, 4]),
    ],
)
def test_old_jobs_go_and_the_dry_run_names_them(old: Home, arguments: list[str], left: list[int]) -> None:
    plan = json.loads(invoke(old, "clean", *arguments, "--dry-run", "--json").stdout)
    assert ids(old) == [1, 2, 3, 4]
    result = json.loads(invoke(old, "clean", *arguments, "--json").stdout)
    assert ids(old) == left
    assert result["deleted"] == plan["deleted"]
    assert sorted({1, 2, 3, 4} - {each["job"] for each in plan["deleted"]}) == left


def test_checkpoints_of_jobs_that_are_done_go_and_all_else_stays(old: Home) -> None:
    document = json.loads(invoke(old, "clean", "--checkpoints", "--json").stdout)
    assert [(each["job"], each["part"]) for each in document["deleted"]] == [(1, "checkpoints"), (3, "checkpoints")]
    assert document["bytes"] >= 4 * 20_000
    assert not (old.job(1) / "checkpoints").exists()
    assert not (old.job(1) / "attempts" / "1" / "checkpoints").exists()
    assert (old.job(1) / "fused").exists()
    assert (old.job(2) / "checkpoints").exists(), "a failed job goes on from them when it is retried"
    assert "its checkpoints deleted by you: 4" in invoke(old, "show", 1).stdout
    assert "there is nothing to delete" in invoke(old, "clean", "--checkpoints").stderr
    assert json.loads(invoke(old, "clean", "--checkpoints", "--state", "failed", "--json").stdout)["deleted"]
    assert not (old.job(2) / "checkpoints").exists()


def test_fused_models_go_of_those_jobs_that_the_rules_let_go(old: Home) -> None:
    result = invoke(old, "clean", "--fused", "--older-than", "15d")
    assert result.exit_code == Exit.OK, result.output
    assert result.stdout.splitlines()[0].startswith("job 1 (oldest), done ")
    assert result.stdout.splitlines()[-1].startswith("2 jobs: ")
    assert [(old.job(each) / "fused").exists() for each in (1, 2, 3)] == [False, False, True]
    assert (old.job(1) / "adapter").exists()


def test_a_job_that_another_one_waits_for_stays_unless_it_is_done(old: Home) -> None:
    with JobTable.open(old.database) as table:
        table.add(homes.make_spec(name="after", after=[1, 2]), "01-after.yaml")
    result = invoke(old, "clean", "--keep", 0)
    assert "job 2 stays: job 5 is to run after it" in result.stderr
    assert ids(old) == [2, 4, 5]


def test_it_must_be_said_what_goes(old: Home) -> None:
    result = invoke(old, "clean")
    assert result.exit_code == Exit.USAGE
    assert "say what: --older-than 30d, --keep 20, --checkpoints or --fused" in result.stderr
    assert invoke(old, "clean", "--keep", 1, "--group", "z").exit_code == Exit.NOT_FOUND


def test_a_folder_with_files_of_another_job_stays(old: Home) -> None:
    identity = {"job": "01K00000000000000000000000", "number": 1, "home": "01H", "name": "laptop"}
    (old.job(1) / "spec.json").write_text(json.dumps({"spec": {}, "identity": identity}), encoding="utf-8")
    for arguments in (["--keep", "0"], ["--checkpoints"], ["--fused"]):
        result = invoke(old, "clean", *arguments, "--dry-run")
        assert f"job 1 stays: its folder {old.job(1)} holds files of another job" in result.stderr, result.output
        assert "job 1 (oldest)" not in result.stdout
    assert "job 1 stays" in invoke(old, "clean", "--checkpoints").stderr
    with JobTable.open(old.database) as table, pytest.raises(NotRemovable, match="which are not deleted with it"):
        table.discard(old.runs, [1], "checkpoints", lambda path, name: pytest.fail("nothing is deleted"))
    assert (old.job(1) / "checkpoints").exists()


def test_an_age_has_a_unit_for_days_may_be_meant(old: Home) -> None:
    result = invoke(old, "clean", "--older-than", "30")
    assert result.exit_code == Exit.USAGE
    assert "'30' has no unit; give 30d, 30h or 30m" in result.stderr
    assert ids(old) == [1, 2, 3, 4]


@pytest.mark.parametrize("command", [("rm",), ("cancel",), ("retry",), ("clean", "--keep", "0"), ("jobs",), ("wait",)])
def test_an_empty_group_is_refused_and_chooses_not_every_job_without_one(old: Home, command: tuple[str, ...]) -> None:
    result = invoke(old, *command, "--group", "")
    assert result.exit_code == Exit.USAGE
    assert "the name is empty; is it a variable that is not set?" in result.stderr
    assert ids(old) == [1, 2, 3, 4]


def test_a_gguf_file_that_was_written_since_is_shown_and_goes_with_the_fused_model(old: Home) -> None:
    with JobTable.open(old.database) as table:
        table.set_sizes({3: RunSize(1, 0, 0)})  # as it was when the job ended
    folder = old.job(3) / "gguf"
    folder.mkdir()
    (folder / "newest-f16.gguf").write_bytes(b"x" * 20_000)
    (old.job(3) / "Modelfile").write_text("FROM ./gguf/newest-f16.gguf\n")
    shown = json.loads(invoke(old, "show", "3", "--json").stdout)
    assert (shown["gguf"], shown["modelfile"]) == (str(folder), str(old.job(3) / "Modelfile"))
    plan = json.loads(invoke(old, "clean", "--fused", "--keep", "0", "--json").stdout)
    (step,) = [each for each in plan["deleted"] if each["job"] == 3]
    assert step["bytes"] >= 40_000
    assert not folder.exists()
    assert not (old.job(3) / "fused").exists()
