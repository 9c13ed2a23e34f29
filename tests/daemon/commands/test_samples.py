"""`prefd samples` shows what a policy answered while it trained, and says why there is nothing to show."""

from __future__ import annotations

import json

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.samples import DrawnAnswer, DrawnSample
from support import homes


def add_samples(home: Home, *steps: int) -> None:
    log = RunDir(home.job(1)).samples
    start = DrawnAnswer(text="I cannot [b]say[/b].", tokens=5, ended="stop")
    for step in steps:
        answer = start if step == 0 else DrawnAnswer(text=f"Four, at {step}. " * 40, tokens=9, ended="length")
        log.append(
            DrawnSample(
                step=step,
                number=1,
                place="pairs.jsonl:4",
                prompt="Two plus two?\x1b[31m",
                start=start if step else None,
                answer=answer,
            )
        )
    log.append(DrawnSample(step=step, number=2, place="pairs.jsonl:9", prompt="And?", start=None, fault="no memory"))


@pytest.fixture
def done(ready_home: Home) -> Home:
    homes.add_done(ready_home)
    return ready_home


def test_the_newest_answers_are_shown_beside_those_of_the_start(done: Home) -> None:
    add_samples(done, 0, 2, 4)
    shown = homes.invoke(done, "samples", 1)
    assert shown.exit_code == 0, shown.output
    assert "step 4  pairs.jsonl:4" in shown.stdout
    assert "step 2" not in shown.stdout
    assert "  start   I cannot [b]say[/b]." in shown.stdout
    assert "  policy  Four, at 4." in shown.stdout
    assert "…  (9 tokens, cut at max_tokens)" in shown.stdout
    assert "could not be drawn: no memory" in shown.stdout
    assert "\x1b[31m" not in shown.stdout
    assert "drawn after steps 0, 2, 4" in shown.stderr
    full = homes.invoke(done, "samples", 1, "--step", 2, "--full")
    assert full.stdout.count("Four, at 2.") == 40
    followed = homes.invoke(done, "samples", 1, "--follow", "--all")
    assert followed.exit_code == 0
    assert followed.stdout.count("pairs.jsonl:4") == 3


def test_json_has_every_answer(done: Home) -> None:
    add_samples(done, 0, 2)
    page = json.loads(homes.invoke(done, "samples", 1, "--all", "--json").stdout)
    assert (page["job"], page["name"], page["steps"]) == (1, "smol-ipo", [0, 2])
    assert [each["step"] for each in page["samples"]] == [0, 2, 2]
    assert page["samples"][1]["start"]["text"] == "I cannot [b]say[/b]."
    assert page["path"].endswith("samples.jsonl")


def test_why_there_is_nothing_to_show_is_told(done: Home, subtests: pytest.Subtests) -> None:
    empty = homes.invoke(done, "samples", 1)
    assert (empty.exit_code, empty.stdout) == (Exit.NOT_FOUND, "")
    assert "job 1 (smol-ipo) draws no samples; add eval_samples: {prompts: 4} to its spec" in empty.stderr
    add_samples(done, 0, 2)
    cases = {
        ("--step", "3"): (Exit.NOT_FOUND, "drew no answers after step 3, but after 0, 2"),
        ("--step", "3", "--all"): (Exit.USAGE, "leave out one of the two"),
        ("--follow", "--json"): (Exit.USAGE, "leave out --json and --step"),
    }
    for arguments, (code, message) in cases.items():
        with subtests.test(arguments=arguments):
            refused = homes.invoke(done, "samples", 1, *arguments)
            assert (refused.exit_code, message in refused.stderr) == (code, True), refused.stderr
