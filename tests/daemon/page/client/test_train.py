"""The Train form as a person uses it: the form and the text are one, faults come while typing, and a job comes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prefd.daemon.home.layout import Home
from support import homes
from support.browser import Visit, serving, visiting
from support.daemon_process import Daemon
from support.fake_worker import spec_text
from support.running_daemon import Place

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Route

pytestmark = pytest.mark.slow
Open = Callable[..., Visit]


def find_editor(page: Page) -> Locator:
    """The editor, once its code has come."""
    editor = page.get_by_role("textbox", name="The spec as YAML")
    editor.wait_for()
    return editor


def read_text(page: Page) -> str:
    """The spec's text as it is kept for the next visit."""
    return str(page.evaluate("localStorage.getItem('prefd-draft') ?? ''"))


def write_text(page: Page, text: str) -> None:
    """Pastes `text` in place of what the editor holds."""
    editor = find_editor(page)
    editor.click()
    page.keyboard.press("Control+a")
    editor.evaluate(
        """(element, text) => {
            const clipboardData = new DataTransfer();
            clipboardData.setData("text/plain", text);
            element.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true}));
        }""",
        text,
    )


def test_what_is_chosen_in_the_form_is_written_in_the_text_and_leaves_the_rest_of_it(visit: Open) -> None:
    page = visit("/train").page
    write_text(page, "# mine\nmodel: ./m   # kept\ndata: {path: ./p.jsonl}\nloss:\n  name: dpop\n  delta: 10\n")
    page.get_by_role("group", name="Loss", exact=True).get_by_role("button", name="ipo").first.click()
    page.get_by_role("textbox", name="beta").fill("0.3")
    page.get_by_role("textbox", name="lora.rank").fill("16")
    page.get_by_role("button", name="dora").click()
    page.get_by_role("checkbox", name="fuse").check()
    page.get_by_role("group", name="report_to").get_by_role("checkbox", name="trackio").check()
    page.get_by_role("group", name="report_to").get_by_role("checkbox", name="tensorboard").check()
    assert read_text(page) == (
        "# mine\nmodel: ./m   # kept\ndata: {path: ./p.jsonl}\nloss:\n  name: ipo\n  beta: 0.3\n"
        "training:\n  fine_tune: dora\n  lora:\n    rank: 16\noutput:\n  fuse: true\n"
        "report_to: [trackio, tensorboard]\n"
    )
    page.get_by_role("group", name="report_to").get_by_role("checkbox", name="trackio").uncheck()
    assert read_text(page).endswith("report_to: [tensorboard]\n")
    page.get_by_role("button", name="Take lora.rank out of the spec").click()
    assert "lora" not in read_text(page)
    page.reload()
    assert page.get_by_role("textbox", name="beta").input_value() == "0.3", "a reload loses nothing"


def test_what_is_typed_in_the_text_is_in_the_form_and_its_curve_moves(visit: Open) -> None:
    page = visit("/train").page
    write_text(page, "model: m\ndata: {path: p}\nloss: {name: hinge, beta: 0.5}\n")
    page.get_by_role("button", name="hinge", pressed=True).first.wait_for()
    assert page.get_by_role("textbox", name="beta").input_value() == "0.5"
    page.get_by_role("img", name=re.compile("hinge over z from -10 to 10 nats, 1 at the start")).wait_for()
    page.get_by_role("slider", name="beta, as a slider").fill("0")
    page.get_by_role("img", name=re.compile("hinge over z from -30 to 30")).wait_for()
    assert "beta: 0.002" in read_text(page)


def test_faults_are_told_with_their_lines_while_typing_and_nothing_can_be_queued(visit: Open) -> None:
    page = visit("/train").page
    page.get_by_text("Name a model and its pairs to begin").wait_for()
    write_text(page, "model: m\ndata: {path: p}\ntraining:\n  learning_rate: fast\n  lernrate: 3\n")
    page.get_by_text("2 faults").wait_for()
    page.get_by_role("button", name="line 4 training.learning_rate").wait_for()
    assert page.get_by_role("button", name="Queue it").is_disabled()
    page.get_by_role("button", name=re.compile("line 5 training.lernrate")).click()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+End")
    page.keyboard.press("Delete")
    page.get_by_text("1 fault", exact=True).wait_for()
    assert "lernrate" not in read_text(page), "a click on a fault leads to its line"
    write_text(page, "a: [")
    page.get_by_text("The form is back when the text can be read as YAML again").wait_for()


def test_no_key_of_two_hundred_typed_fast_is_lost_in_the_form_or_in_the_text(visit: Open) -> None:
    page = visit("/train").page
    find_editor(page)
    name = "abcdefghij" * 20
    page.get_by_role("textbox", name="name", exact=True).click()
    page.keyboard.type(name)
    assert page.get_by_role("textbox", name="name", exact=True).input_value() == name
    assert f"name: {name}\n" in read_text(page)
    find_editor(page).click()
    page.keyboard.press("Control+End")
    comment = "# " + "klmnopqrst" * 20
    page.keyboard.type(comment)
    assert read_text(page).endswith(comment)
    assert f"name: {name}\n" in read_text(page)


def test_what_is_typed_before_the_schema_has_come_stays_and_the_cursor_with_it(visit: Open) -> None:
    window = visit(None)
    held: list[Route] = []
    window.page.route("**/v1/schema", lambda route: held.append(route))
    window.open("/train")
    find_editor(window.page).click()
    window.page.keyboard.press("Control+End")
    window.page.keyboard.type("# early")
    for route in held:
        route.continue_()
    window.page.get_by_role("textbox", name="name", exact=True).wait_for()
    window.page.keyboard.type(" and late")
    assert read_text(window.page).endswith("# early and late"), "the editor keeps its focus when the form comes"


@pytest.mark.thorough
def test_a_spec_that_is_started_from_asks_before_it_replaces_another(ready_home: Home, visit: Open) -> None:
    homes.add_done(ready_home, name="earlier")
    page = visit("/train?from=1").page
    page.get_by_role("textbox", name="name", exact=True).wait_for()
    find_editor(page).get_by_text("org/small-model").wait_for()
    assert "from" not in page.url
    write_text(page, "model: another\n")
    page.goto(page.url + "?from=1")
    page.get_by_role("dialog").get_by_role("button", name="Leave it").click()
    assert read_text(page) == "model: another\n"


@pytest.mark.thorough
def test_a_sweep_is_queued_as_its_jobs(place: Place, visit: Open) -> None:
    spec = json.loads(spec_text(place.folder, ""))
    with place.daemon():
        page = visit("/train").page
        sweep = {"name": "betas", "loss": {"name": "sigmoid"}, "sweep": {"loss.beta": [0.1, 0.2, 0.3]}}
        write_text(page, json.dumps(spec | sweep) + "\n")
        page.get_by_role("button", name="Queue 3 jobs").click()
        page.get_by_role("status").get_by_text("Queued 3 jobs").wait_for()
        for number in (1, 2, 3):
            page.get_by_role("row", name=f"betas-{number}").get_by_text("done", exact=True).wait_for()


@pytest.mark.thorough  # a real worker trains; each part of the way has its test here
def test_a_new_user_gets_from_an_empty_home_to_an_adapter_without_a_terminal(
    home: Path, tiny_model: Path, pairs_file: Path, static: Path, browser: Browser
) -> None:
    daemon = Daemon(home, tiny_model, pairs_file)
    daemon.start()
    try:
        with ExitStack() as stack:
            address = stack.enter_context(serving(daemon.home, static))
            page = stack.enter_context(visiting(browser, address)).page
            page.goto(address)
            page.get_by_role("main").get_by_text("No jobs yet").wait_for()
            page.keyboard.press("n")
            page.get_by_role("textbox", name="name", exact=True).fill("first")
            page.get_by_role("textbox", name="model", exact=True).fill(str(tiny_model))
            page.get_by_role("textbox", name="path", exact=True).fill(str(pairs_file))
            page.get_by_role("textbox", name="learning_rate").fill("1e-3")
            page.get_by_text("ready", exact=True).wait_for()
            page.get_by_text(re.compile("to score: .* tokens, about")).wait_for(timeout=60_000)
            page.get_by_role("link", name="rows").click()
            page.get_by_text("<|im_end|>").first.wait_for(timeout=60_000)
            page.keyboard.press("Control+Enter")
            page.wait_for_url("**/jobs/1")
            page.get_by_text("done", exact=True).first.wait_for(timeout=120_000)
            page.get_by_role("img", name=re.compile("^Loss, ")).wait_for()
            assert (daemon.home.job(1) / "adapter" / "adapters.safetensors").exists()
            page.goto(address + "/cache")
            page.get_by_role("link", name="1 first").wait_for()
    finally:
        daemon.end()
