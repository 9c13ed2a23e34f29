"""A run as a person looks at it: its curves, what must not be overlooked in them, and its tabs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.runs.data_summary import DataSummary
from prefd.daemon.runs.pair_answers import MarginHistogram
from prefd.daemon.runs.report_files import ReportFiles, ReportState
from prefd.daemon.worker_tasks.xrays import DoubtedPairs, FoundPair, LengthBias, XRay
from support import control_server, homes
from support.browser import Visit

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession, Page

pytestmark = pytest.mark.slow
Open = Callable[..., Visit]
STEPS = 100_000
SPIKES = {42_900: 9.5, 71_000: 6.2}
NOT_FINITE = (60_000, 60_001, 60_002)

DOUBTED = FoundPair(
    row=3, place="pairs.jsonl:3", digest="0" * 32, held_out=True, why="repeats pairs.jsonl:2",
    tokens={"prompt": 4, "chosen": 2, "rejected": 2}, prompt="Why?", chosen="So.", rejected="No.",
)  # fmt: skip
LENGTHS = LengthBias(
    longer=1, shorter=1, equal=0, accuracy=0.5, chosen_tokens=4.0, rejected_tokens=4.0,
    histogram=MarginHistogram.model_validate({"from": -1.0, "width": 1.0, "train": [1, 1], "held_out": [0, 0]}),
)  # fmt: skip
DOUBTS = XRay(
    model="m", reference="m", data=DataSummary.model_validate(homes.REPORT), pairs=2, missing=0, lengths=LENGTHS, reference_view=None, predictability=None,
    findings=[DoubtedPairs(kind="duplicates", total=1, pairs=[DOUBTED]), DoubtedPairs(kind="cut", total=0, pairs=[])],
    sources=[], notes=["the pairs are too few to learn from"],
)  # fmt: skip


def write_long_run(path: Path) -> None:
    """100,000 steps with two spikes and three steps that are not finite."""
    with path.open("w", encoding="utf-8") as file:
        for step in range(1, STEPS + 1):
            loss = "null" if step in NOT_FINITE else SPIKES.get(step, 0.7 - 5e-6 * step + 1e-3 * (step % 7))
            file.write(f'{{"step":{step},"loss":{loss},"grad_norm":1.5}}\n')
            if step % 10_000 == 0:
                file.write(f'{{"step":{step},"eval_loss":0.4}}\n')


def draw(fingers: CDPSession, before: Sequence[float], after: Sequence[float], y: float) -> None:
    """Sets a finger down at each of the places `before`, moves them to those `after`, and lifts them."""
    for kind, places in (("touchStart", before), ("touchMove", after), ("touchEnd", ())):
        points = [{"x": x, "y": y, "id": number} for number, x in enumerate(places)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def read_range(page: Page) -> tuple[int, int]:
    """The steps that the address names."""
    query = parse_qs(urlsplit(page.url).query)
    return int(query["from"][0]), int(query["to"][0])


def test_no_spike_and_no_bad_step_of_100_000_is_lost_and_mouse_keys_and_fingers_zoom(
    ready_home: Home, visit: Open
) -> None:
    write_long_run(homes.run_folder(ready_home, homes.add_done(ready_home)).metrics)
    there = visit("/jobs/1/charts?smooth=0")
    page = there.page
    page.get_by_text("▲ 2 spikes to 9.5").wait_for()
    page.get_by_text("not finite at step 60000, 60001, 60002").wait_for()
    page.get_by_text("125 steps a point").wait_for()
    whole = page.get_by_role("img", name="Loss, 800 points")
    whole.wait_for()

    page.keyboard.press("+")
    page.wait_for_url("**from=25000&to=75001")
    page.keyboard.press("l")
    page.wait_for_url("**from=49999&to=100000")
    page.keyboard.press("h")
    page.wait_for_url("**from=24998&to=75000")
    page.get_by_role("button", name="Fewer steps").filter(visible=True).click()
    page.wait_for_url("**from=37498&to=62500")
    page.keyboard.press("-")
    page.keyboard.press("-")
    page.wait_for_url("**/charts?smooth=0")
    whole.wait_for()

    box = whole.locator(".u-over").bounding_box()
    assert box is not None
    left, width, y = box["x"], box["width"], box["y"] + box["height"] / 2
    fingers = there.context.new_cdp_session(page)
    draw(fingers, (left + 0.45 * width, left + 0.55 * width), (left + 0.3 * width, left + 0.7 * width), y)
    page.wait_for_url("**from=**")
    first, last = read_range(page)
    assert (first, last) == (pytest.approx(37_500, abs=500), pytest.approx(62_500, abs=500)), "steps stay under fingers"
    page.keyboard.press("0")
    whole.wait_for()
    draw(fingers, [left + 0.4 * width], [left + 0.44 * width], y)
    page.wait_for_url("**from=**")
    assert read_range(page) == (pytest.approx(40_000, abs=500), pytest.approx(44_000, abs=500))

    there.open("/jobs/1/charts?from=42800&to=43000&smooth=0")
    plot = page.get_by_role("img", name="Loss, 201 points").locator(".u-over")
    page.get_by_text("▲ 1 spike to 9.5").wait_for()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.4, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, y, steps=4)
    page.mouse.up()
    page.get_by_text(re.compile(r"steps 428[78]\d to 429[12]\d")).filter(visible=True).wait_for()
    page.get_by_text("▲ 1 spike to 9.5").wait_for()
    page.keyboard.press("]")
    page.wait_for_url("**smooth=1")
    page.keyboard.press("0")
    whole.wait_for()


def test_a_report_is_drawn_at_once_and_values_stand_in_the_cards_head(ready_home: Home, visit: Open) -> None:
    job = homes.add_running(ready_home)
    there = visit("/jobs/1/charts")
    there.page.get_by_role("img", name="Loss, 4 points").wait_for()
    with homes.run_folder(ready_home, job).metrics.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 5, "loss": 0.1234, "epoch": 1.5}) + "\n")
        file.write(json.dumps({"step": 5, "eval_loss": 0.4321, "eval_rewards/accuracies": 0.875}) + "\n")
    there.page.get_by_role("img", name="Loss, 5 points").wait_for()
    card = there.page.locator("section.chart").filter(has=there.page.get_by_role("heading", name="Loss", exact=True))
    card.get_by_text("0.1234").wait_for()
    card.get_by_text("0.4321").wait_for()
    there.page.locator(".tile").get_by_text("87.5 %").wait_for()


def test_the_tabs_tell_what_was_run_and_what_became_of_the_rows(ready_home: Home, visit: Open) -> None:
    homes.draw_samples(ready_home, homes.add_done(ready_home))
    there = visit(None)
    there.page.route("**/v1/jobs/1/xray", lambda route: route.fulfill(body=json.dumps(DOUBTS.to_json())))
    there.open("/jobs/1/data")
    there.page.get_by_text("identical sides", exact=True).wait_for()
    there.page.get_by_text("pairs.jsonl:4, pairs.jsonl:17").wait_for()
    there.page.get_by_role("button", name="Examine the pairs").click()
    there.page.get_by_text("1 pair repeats an earlier one").click()
    there.page.get_by_text("repeats pairs.jsonl:2").wait_for()
    there.page.wait_for_url("**/data?doubts=1")
    there.page.get_by_role("link", name="samples").click()
    there.page.get_by_text("Jupiter, after 12.").wait_for()
    there.page.get_by_text("Which <b>planet</b>?").wait_for()
    there.page.get_by_role("button", name="6", exact=True).click()
    there.page.get_by_text("Jupiter, after 6.").wait_for()
    there.page.wait_for_url("**/samples?step=6")
    there.page.get_by_role("link", name="spec").click()
    there.page.get_by_text("model: org/small-model").wait_for()
    there.page.get_by_role("link", name="log").click()
    there.page.get_by_text("scoring 212 completions").wait_for()
    there.page.get_by_label("Only lines with this").fill("loading")
    there.page.wait_for_url("**/log?find=loading")
    there.page.get_by_role("link", name="history").click()
    there.page.get_by_role("cell", name="precomputing").wait_for()


@pytest.mark.thorough  # its words have their test in src/text/reports.test.ts
def test_where_a_run_is_reported_to_is_told_and_a_report_that_broke_off_on_every_tab(
    ready_home: Home, visit: Open
) -> None:
    run = homes.run_folder(ready_home, homes.add_done(ready_home))
    states = (
        ReportState("tensorboard", place="tensorboard --logdir there", train=20, held_out=20, state="done"),
        ReportState("wandb", place="https://wandb.example/run", train=4, error="no route to host"),
        ReportState("wicked", place="javascript:document.title='taken'", train=4),
    )
    for state in states:
        ReportFiles(run, state.to).write(state)
    there = visit(None)
    page = there.page
    page.clock.install()
    there.open("/jobs/1/history")
    page.get_by_text("Its report to wandb broke off: no route to host.").wait_for()
    page.get_by_text("prefd report 1 --to wandb").wait_for()
    page.get_by_role("link", name="spec").click()
    page.get_by_text("tensorboard to step 20, evaluated to step 20, done").wait_for()
    page.get_by_role("link", name="https://wandb.example/run").wait_for()
    page.get_by_text("javascript:document.title='taken'", exact=True).wait_for()
    assert page.get_by_role("link", name="javascript").count() == 0
    ReportFiles(run, "wicked").write(replace(states[2], train=8, state="done"))
    page.clock.fast_forward(10_000)
    page.get_by_text("wicked to step 8, done").wait_for()


def test_a_job_that_waits_is_edited_and_a_wrong_spec_is_refused_in_words(
    ready_home: Home, visit: Open, pairs_file: Path
) -> None:
    homes.add_queued(ready_home, name="waits")
    with control_server.serving(ready_home):
        there = visit("/jobs/1/spec")
        there.page.get_by_role("button", name="Edit").click()
        text = there.page.get_by_label("The spec, as YAML")
        there.page.get_by_text("Change the job").wait_for()
        text.fill("name: waits\nmodel: 3\n")
        there.page.get_by_role("button", name="Change the job").click()
        there.page.get_by_role("alert").get_by_text("model").first.wait_for()
        text.fill(f"model: org/other\ndata: {{path: {pairs_file}}}\nloss: {{name: ipo}}\npriority: 4\n")
        there.page.get_by_role("button", name="Change the job").click()
        there.page.get_by_text("waits is changed").wait_for()
        there.page.get_by_text("priority 4").wait_for()
    with JobTable.open_readonly(ready_home.database) as table:
        assert table.spec(1).model == "org/other"


def test_a_job_that_is_not_there_is_told(visit: Open) -> None:
    visit("/jobs/7/charts").page.get_by_text("There is no job 7").wait_for()
