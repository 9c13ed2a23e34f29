"""Jobs are removed and edited under a running daemon, and what a crash left of a removal is finished by the next one."""

from __future__ import annotations

import threading

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.control.control_error import ControlError
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.snapshot import read_frozen_spec
from support import fake_worker
from support.homes import invoke
from support.running_daemon import Place


def test_a_job_is_removed_through_the_daemon_and_nothing_of_it_comes_back(place: Place) -> None:
    with place.daemon():
        place.drop("a.yaml")
        place.drop("b.yaml")
        place.wait_for("done", "done")
        result = invoke(place.home, "rm", 1)
        assert (result.exit_code, result.stdout.split(":")[0]) == (Exit.OK, "job 1 (ok) is removed"), result.output
        assert not place.home.job(1).exists()
        assert len(list(place.home.accepted.glob("*.yaml"))) == 1
        refused = invoke(place.home, "rm", "--json", 9)
        assert (refused.exit_code, refused.stderr) == (Exit.NOT_FOUND, "error: there is no job 9\n")
    with place.daemon():
        place.drop("c.yaml")
        assert [job.id for job in place.wait_for("done", "done")] == [2, 3]


def test_a_removal_that_a_crash_broke_off_is_finished_by_the_next_daemon(place: Place) -> None:
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
    with JobTable.open(place.home.database) as table:
        table.remove([1])  # and the process is killed before it has deleted anything
    assert place.home.job(1).exists()
    with place.daemon():
        fake_worker.wait_for(
            lambda: not list(place.home.runs.glob("[0-9]*")) and not list(place.home.runs.glob(".rem*"))
        )
        place.drop("b.yaml")
        (job,) = place.wait_for("done")
        assert job.id == 2, "the removed job's spec was not claimed again"


def test_what_a_job_takes_is_measured_when_it_has_ended_and_parts_are_deleted_through_the_daemon(place: Place) -> None:
    with place.daemon():
        place.drop("a.yaml")
        place.wait_for("done")
        fake_worker.wait_for(lambda: place.jobs()[0].bytes is not None)
        checkpoint = place.home.job(1) / "checkpoints" / "step-00000001"
        checkpoint.mkdir(parents=True)
        (checkpoint / "weights").write_bytes(b"x" * 50_000)
        with JobTable.open(place.home.database) as table:
            table.set_sizes({})
            table._db.execute("DELETE FROM sizes")
        assert invoke(place.home, "clean", "--checkpoints").stdout.splitlines()[0].endswith("its checkpoints, 53.2 kB")
        assert not (place.home.job(1) / "checkpoints").exists()
        fake_worker.wait_for(lambda: not list(place.home.runs.glob(".removed-*")))


@pytest.mark.thorough  # daemon/jobs/test_edits.py has what an edit that comes late is answered
@pytest.mark.parametrize("jobs", [6, 12])
def test_an_edit_beside_the_start_of_its_job_takes_effect_or_is_refused(place: Place, jobs: int) -> None:
    """So many jobs start one after the other while each is edited again and again: no edit is accepted and then lost."""
    accepted: dict[int, int] = {}
    refusals: list[int] = []
    with place.daemon() as client:
        client.act_on_queue("pause")
        for number in range(jobs):
            place.drop(f"{number}.yaml")
        fake_worker.wait_for(lambda: len(place.jobs()) == jobs)
        specs = {}
        with JobTable.open_readonly(place.home.database) as table:
            for job in table.list():
                specs[job.id] = table.spec(job.id).model_dump(mode="json", exclude_unset=True)

        def edit(job_id: int) -> None:
            for length in range(100, 1000):
                spec = specs[job_id] | {"data": specs[job_id]["data"] | {"max_length": length}}
                try:
                    client.edit(job_id, {"spec": spec})
                except ControlError as error:
                    refusals.append(error.status)
                    return
                accepted[job_id] = length

        threads = [threading.Thread(target=edit, args=(job_id,)) for job_id in specs]
        client.act_on_queue("resume")
        for thread in threads:
            thread.start()
        place.wait_for(*["done"] * jobs)
        for thread in threads:
            thread.join()
    assert accepted
    assert set(refusals) <= {409}, "it had begun"
    with JobTable.open_readonly(place.home.database) as table:
        for job_id, length in accepted.items():
            assert table.spec(job_id).data.max_length == length
            assert read_frozen_spec(RunDir(place.home.job(job_id))).data.max_length == length


def test_streams_tell_of_edits_and_removals(place: Place) -> None:
    with place.daemon() as client:
        client.act_on_queue("pause")
        place.drop("a.yaml")
        fake_worker.wait_for(lambda: len(place.jobs()) == 1)
        client.edit(1, {"settings": {"priority": 2}})
        client.act_on_jobs("cancel", [1])
        client.act_on_jobs("remove", [1])
        kinds = []
        for event in client.events("0"):
            kinds.append((event.kind, event.document.get("state"), event.document.get("reason")))
            if event.kind == "removed":
                break
        assert kinds[-1] == ("removed", None, "removed by you; it was cancelled")
