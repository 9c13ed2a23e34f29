"""The pairs that a policy still gets wrong, as a person looks through them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.runs.pair_answers import MarginHistogram, PairsHead, PairsMeans, PairsPage, ScoredPair
from support import homes
from support.browser import Visit

if TYPE_CHECKING:
    from playwright.sync_api import Route

pytestmark = pytest.mark.slow


def make_pair(row: int, margin: float, held_out: bool) -> ScoredPair:
    logps = {"chosen": -50.0 + margin, "rejected": -60.0}
    return ScoredPair(
        row=row,
        place=f"pairs.jsonl:{row}",
        held_out=held_out,
        margin=margin,
        loss=0.7,
        chosen=margin,
        rejected=0.0,
        logps=logps,
        ref={"chosen": -50.0, "rejected": -60.0},
        tokens={"prompt": 9, "chosen": 5, "rejected": 6},
        prompt=f"<|im_start|>user\nWhat is {row}?<|im_end|>\n",
        chosen_text=f"<b>it is {row}</b><|im_end|>",
        rejected_text="something else",
        pair=f"{row:032x}",
    )


PAIRS = [make_pair(7, -1.5, True), make_pair(3, -0.5, False), make_pair(9, 2.0, True), make_pair(4, 3.0, False)]
MEANS = PairsMeans(pairs=2, wrong=1, accuracy=0.5, margin=0.25, loss=0.7)


class ScoringServer:
    """Answers for the server: nothing is scored until it is asked for, and then at once."""

    def __init__(self) -> None:
        self.scored = False

    def answer(self, route: Route) -> None:
        if route.request.method == "POST":
            self.scored = True
            route.fulfill(status=202, json={"job": 1, "state": "waiting", "reason": ""})
            return
        page = PairsPage(job=1, state="none", total=0, pairs=[])
        if self.scored:
            only = parse_qs(urlsplit(route.request.url).query).get("only", [])
            shown = [pair for pair in PAIRS if (pair.held_out or "held_out" not in only)]
            shown = [pair for pair in shown if (pair.margin or 0) < 0 or "wrong" not in only]
            histogram = MarginHistogram.model_validate(
                {"from": -2.0, "width": 1.0, "train": [0, 1, 0, 0, 1], "held_out": [1, 0, 0, 1, 0]}
            )
            head = PairsHead(
                scored_at_step=12, scored_at=1.0, compares_with="m", train=MEANS, held_out=MEANS, histogram=histogram
            )
            page = PairsPage(job=1, state="done", head=head, wrong=2, total=len(shown), pairs=shown)
        route.fulfill(body=json.dumps(page.to_json()), content_type="application/json")


def test_pairs_are_scored_when_asked_for_chosen_by_the_address_and_opened_in_full(
    ready_home: Home, visit: Callable[..., Visit]
) -> None:
    homes.add_done(ready_home)
    there = visit(None)
    there.page.route("**/v1/jobs/1/pairs*", ScoringServer().answer)
    there.open("/jobs/1/pairs")
    there.page.get_by_role("button", name="Score the pairs").click()
    there.page.get_by_text("of 4 pairs are still the wrong way round").wait_for()
    rows = there.page.locator(".pair-row")
    assert rows.count() == 4
    assert "<b>it is 7</b>" in rows.first.inner_text()  # text, not markup; and without special tokens
    assert "<|im_end|>" not in rows.first.inner_text()
    there.page.get_by_label("wrong only").check()
    there.page.get_by_label("held out only").check()
    there.page.wait_for_url("**/pairs?only=wrong%2Cheld_out")
    rows.nth(1).wait_for(state="detached")
    rows.first.click()
    dialog = there.page.get_by_role("dialog", name="Row 7, held out: margin −1.5")
    dialog.get_by_text("<|im_end|>").first.wait_for()
    there.page.reload()
    there.page.get_by_role("dialog", name="Row 7").wait_for()
    there.page.keyboard.press("Escape")
    there.page.wait_for_url("**/pairs?only=wrong%2Cheld_out")
