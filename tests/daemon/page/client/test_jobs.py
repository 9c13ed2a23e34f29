"""The list of jobs as a person uses it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.runs.run_folder import Progress
from support import control_server, homes
from support.browser import Visit

pytestmark = pytest.mark.slow
Open = Callable[..., Visit]


def test_an_empty_home_says_what_to_do(visit: Open) -> None:
    page = visit().page
    page.get_by_role("main").get_by_text("No jobs yet").wait_for()
    page.get_by_role("link", name="Make the first one").click()
    page.wait_for_url("**/train")


def test_a_job_that_is_handed_in_appears_and_one_that_runs_moves_without_a_reload(
    ready_home: Home, visit: Open
) -> None:
    running = homes.add_running(ready_home, name="runs")
    there = visit()
    there.page.get_by_role("link", name="runs").first.wait_for()
    homes.add_queued(ready_home, name="comes")
    there.page.get_by_role("row", name="comes").get_by_text("next in the queue").wait_for()
    homes.run_folder(ready_home, running).write_progress(Progress("training", 9, 12, "steps", updated_at=7.0))
    there.page.get_by_role("row", name="runs").get_by_text("75 %").wait_for()
    with JobTable.open(ready_home.database) as table:
        table.transition(running.id, "done")
    there.page.get_by_role("row", name="runs").get_by_text("done", exact=True).wait_for()


def test_what_is_chosen_and_filtered_is_in_the_address(ready_home: Home, visit: Open) -> None:
    homes.add_done(ready_home, name="alpha")
    homes.add_failed(ready_home, name="beta", reason="no memory left")
    homes.add_done(ready_home, name="gamma")
    there = visit()
    there.page.get_by_role("button", name="failed 1").click()
    there.page.get_by_role("link", name="alpha").wait_for(state="detached")
    there.page.get_by_label("Filter by name").fill("memory")
    there.page.get_by_role("checkbox", name="Choose beta").check()
    there.page.wait_for_url("**/?state=failed&q=memory&sel=2")
    there.page.reload()
    there.page.get_by_text("1 job", exact=True).wait_for()
    assert there.page.get_by_role("row").count() == 2  # the head's and beta's


def test_jobs_are_changed_where_their_state_lets_them_deleting_asks_first_and_an_open_page_tells(
    ready_home: Home, visit: Open
) -> None:
    homes.add_queued(ready_home, name="late")
    homes.add_queued(ready_home, name="soon")
    homes.add_done(ready_home, name="over")
    homes.add_done(ready_home, name="older")
    homes.add_done(ready_home, name="looked-at")
    with control_server.serving(ready_home), control_server.talking(ready_home) as http:
        there = visit("/jobs/5/charts")
        there.page.get_by_role("heading", name="looked-at").wait_for()
        assert http.post("/v1/jobs/remove", json={"jobs": [5]}).status_code == 202
        there.page.get_by_text("There is no job 5").wait_for()
        there.page.get_by_role("link", name="To the jobs").click()
        there.open("/?sel=2")
        there.page.get_by_role("button", name="First in the queue").click()
        there.page.get_by_role("row", name="soon").get_by_text("priority 1").wait_for()
        there.open("/?sel=3")
        there.page.get_by_role("button", name="Delete", exact=True).click()
        there.page.get_by_role("dialog").get_by_role("button", name="Leave it").click()
        there.page.get_by_role("button", name="Delete", exact=True).click()
        there.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        there.page.get_by_role("link", name="over").wait_for(state="detached")
        there.page.get_by_role("button", name="Clean up").click()
        dialog = there.page.get_by_role("dialog", name="Clean up")
        dialog.get_by_text("Nothing would be deleted").wait_for()
        dialog.get_by_label("delete").select_option("whole jobs")
        dialog.get_by_label("but keep the last").fill("0")
        dialog.get_by_role("listitem").get_by_text("#4 older").wait_for()
        dialog.get_by_role("button", name="Delete").click()
        there.page.get_by_role("link", name="older").wait_for(state="detached")
        there.page.get_by_role("button", name="Pause queue").click()
        there.page.get_by_role("button", name="Resume queue").wait_for()
    with JobTable.open_readonly(ready_home.database) as table:
        assert {job.name: job.priority for job in table.list()} == {"late": 0, "soon": 1}
        assert table.queue_paused_at() is not None


def test_what_the_daemon_refuses_is_told_in_its_words(ready_home: Home, visit: Open) -> None:
    homes.add_queued(ready_home, name="waits")
    there = visit("/?sel=1")
    there.page.get_by_role("button", name="Pause", exact=True).click()
    there.page.get_by_role("status").get_by_text("no daemon runs on").wait_for()
