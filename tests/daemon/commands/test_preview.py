"""`prefd preview`, as it is typed."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.commands.shared.errors import Exit, Failure
from prefd.daemon.commands.shared.references import ask_worker
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.interpreter import build_environment
from prefd.daemon.worker_tasks.answers import LossCheck
from prefd.daemon.worker_tasks.inputs import LossCheckInput
from support import homes
from support.homes import invoke
from support.pseudo_terminal import on_terminal
from support.sample_pairs import PAIRS

pytestmark = pytest.mark.usefixtures("answers_in_process")


@pytest.fixture
def spec(tmp_path: Path, tiny_model: Path, pairs_file: Path) -> Path:
    return homes.write_spec(tmp_path / "first.json", tiny_model, pairs_file)


def test_it_shows_rows_as_the_model_sees_them(home: Path, spec: Path, tiny_model: Path, pairs_file: Path) -> None:
    result = invoke(Home(home), "preview", spec, "--rows", 1)
    assert result.exit_code == Exit.OK, result.output
    assert result.stdout.splitlines() == [
        f"model   {tiny_model}, with its chat template",
        f"data    {pairs_file}: 8 rows in format explicit, 8 usable",
        "        8 pairs to train on, 0 held out",
        "tokens  prompt 30–43 (median 39), chosen 5–15 (8), rejected 4–34 (26.5)",
        "        prompt and answer at most 128; whole answers end with <|im_end|>",
        "",
        "pairs.jsonl:1, trained on ──────────────────────────────────────────────────────",
        "prompt    30 tokens, read and not trained on",
        "  │ <|im_start|>user⏎",
        "  │ What is two plus two?<|im_end|>⏎",
        "  │ <|im_start|>assistant⏎",
        "  └── the prompt ends here; each answer goes on from it",
        "chosen    6 tokens, all trained on",
        "  ┃ Four.<|im_end|>",
        "rejected  34 tokens, all trained on",
        "  ┃ It could be many things, who knows.<|im_end|>",
    ]
    assert not home.exists(), "it works without a home, and makes none"


def test_three_rows_unless_told_otherwise(home: Path, spec: Path) -> None:
    document = json.loads(invoke(Home(home), "preview", spec, "--json").stdout)
    assert [pair["place"] for pair in document["pairs"]] == ["pairs.jsonl:1", "pairs.jsonl:2", "pairs.jsonl:3"]


def test_json_has_why_the_data_is_refused(home: Path, tmp_path: Path, tiny_model: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "", "chosen": "a", "rejected": "b"}))
    spec = homes.write_spec(tmp_path / "a.json", tiny_model, rows)
    result = invoke(Home(home), "preview", spec, "--json")
    assert result.exit_code == Exit.FAILED
    document = json.loads(result.stdout)
    assert set(document) == {"schema", "file", "job", "error"}
    assert document["error"].endswith("none of its 1 rows can be used: 1 × empty prompt (rows.jsonl:1)")


def test_json_has_the_texts_and_with_tokens_each_token(home: Path, spec: Path, tiny_model: Path) -> None:
    plain, tokens = (
        json.loads(invoke(Home(home), "preview", spec, "--row", 8, "--json", *more).stdout)
        for more in ((), ("--tokens",))
    )
    assert (plain["schema"], plain["job"], plain["model"]) == (1, "first", str(tiny_model))
    (pair,) = plain["pairs"]
    assert pair["chosen"] == {"tokens": 9, "counted": 9, "cut": 0, "text": "Bonjour.<|im_end|>"}
    assert pair["prompt"]["text"] == "<|im_start|>user\nSay hello in French.<|im_end|>\n<|im_start|>assistant\n"
    assert pair["prompt"]["counted"] == 0
    (pair,) = tokens["pairs"]
    assert (pair["chosen"]["ids"][-1], pair["chosen"]["texts"][-1], pair["chosen"]["special"][-1]) == (
        2,
        "<|im_end|>",
        True,
    )
    assert "".join(pair["chosen"]["texts"]) == pair["chosen"]["text"]
    assert pair["chosen"]["is_counted"] == [True] * 9


def test_a_row_that_is_not_used_says_why_and_the_others_are_shown(home: Path, tmp_path: Path, tiny_model: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in [PAIRS[0], PAIRS[1] | {"rejected": " "}]))
    spec = homes.write_spec(tmp_path / "a.json", tiny_model, rows)
    result = invoke(Home(home), "preview", spec, "--row", 2, "--row", 1)
    assert result.exit_code == Exit.NOT_FOUND
    assert "rows.jsonl:1, trained on" in result.stdout
    assert result.stderr == "error: row 2 (rows.jsonl:2) is not used: empty completion\n"


def test_the_worst_and_a_row_at_once_is_a_usage_error(home: Path, spec: Path) -> None:
    result = invoke(Home(home), "preview", spec, "--row", 2, "--worst")
    assert result.exit_code == Exit.USAGE
    assert "--row names the pairs and --worst finds them: give one of the two" in result.stderr


def test_a_number_of_rows_beside_a_named_one_is_a_usage_error(home: Path, spec: Path) -> None:
    result = invoke(Home(home), "preview", spec, "--row", 2, "--rows", 3)
    assert result.exit_code == Exit.USAGE
    assert "--row names the pairs and --rows says how many: give one of the two" in result.stderr


def test_its_worker_has_the_environment_of_those_that_train(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """A chat template in Python that goes through a set writes the same text in both, whatever the user's own seed."""
    seen: dict[str, str] = {}

    def run(*_: Any, env: dict[str, str], **__: Any) -> subprocess.CompletedProcess[str]:
        seen.update(env)
        return subprocess.CompletedProcess([], 1, json.dumps({"error": "enough"}), "")

    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(Failure, match="enough"):
        ask_worker(Home(home), "check-loss", LossCheckInput(name="x"), LossCheck)
    of_phases = build_environment()
    assert {name: seen[name] for name in of_phases if name != "PYTHONUNBUFFERED"} == {
        name: value for name, value in of_phases.items() if name != "PYTHONUNBUFFERED"
    }
    assert seen["PYTHONHASHSEED"] == "0"


def test_all_lines_of_what_a_worker_says_are_told(monkeypatch: pytest.MonkeyPatch, home: Path, spec: Path) -> None:
    process = subprocess.CompletedProcess(
        [], 1, json.dumps({"error": "the first line\nthe second"}), "INFO noise\nthe second"
    )
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: process)
    with pytest.raises(Failure, match=r"^the first line\nthe second$"):
        ask_worker(Home(home), "check-loss", LossCheckInput(name="x"), LossCheck)
    process.stdout = ""
    with pytest.raises(Failure, match=r"^the second$"):
        ask_worker(Home(home), "check-loss", LossCheckInput(name="x"), LossCheck)


def test_data_that_a_run_refuses_is_refused(home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path) -> None:
    data = {"path": str(pairs_file), "chosen_feature": "best"}
    result = invoke(Home(home), "preview", homes.write_spec(tmp_path / "a.json", tiny_model, pairs_file, data=data))
    assert result.exit_code == Exit.FAILED
    assert "data.chosen_feature" in result.stderr
    assert "has no column 'best'" in result.stderr


@pytest.mark.parametrize(
    ("sweep", "more", "note", "tokens"),
    [
        ({"training.seed": [0, 1]}, [], "many-1; all have these tokens", 128),
        ({"data.max_length": [60, 90]}, [], "many-1; 1 of them have these tokens, and --job shows another", 60),
        (
            {"data.max_length": [60, 90]},
            ["--job", 2],
            "many-2; 1 of them have these tokens, and --job shows another",
            90,
        ),
    ],
)
def test_of_a_sweep_it_says_which_job_it_shows(
    home: Path,
    tmp_path: Path,
    tiny_model: Path,
    pairs_file: Path,
    sweep: dict[str, Any],
    more: list[object],
    note: str,
    tokens: int,
) -> None:
    spec = homes.write_spec(tmp_path / "many.json", tiny_model, pairs_file, sweep=sweep)
    result = invoke(Home(home), "preview", spec, "--json", *more)
    assert result.stderr == f"many.json: a sweep of 2 jobs, of which this is {note}\n"
    assert json.loads(result.stdout)["max_length"] == tokens


def test_a_job_that_the_sweep_has_not(home: Path, spec: Path) -> None:
    result = invoke(Home(home), "preview", spec, "--job", 2)
    assert result.exit_code == Exit.USAGE
    assert "first.json: there is no job 2; it has 1" in result.stderr


def test_a_flat_config_is_a_spec_too(home: Path, tmp_path: Path, tiny_model: Path, pairs_file: Path) -> None:
    spec = tmp_path / "old.yaml"
    spec.write_text(f"model: {tiny_model}\ndata: {pairs_file}\ntrain_mode: dpo\n")
    result = invoke(Home(home), "preview", spec, "--row", 5)
    assert "  ┃ Eight.<|im_end|>" in result.stdout.splitlines()


@pytest.mark.thorough
def test_on_a_terminal_it_is_coloured_and_fits(home: Path, spec: Path) -> None:
    coloured = on_terminal(["--home", str(home), "preview", str(spec)], {"COLUMNS": "80"})
    for style in ("\x1b[1;35m<|im_end|>", "\x1b[32m", "\x1b[31m"):
        assert style in coloured
    assert max(map(len, re.sub(r"\x1b\[[\d;]*m", "", coloured).splitlines())) <= 80


def test_without_a_colour_and_as_wide_as_it_is_told(home: Path, spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    for width in (60, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.delenv("NO_COLOR", raising=False)
        assert "\x1b[32m" in invoke(Home(home), "preview", spec).stdout
        monkeypatch.setenv("NO_COLOR", "1")
        plain = invoke(Home(home), "preview", spec).stdout
        assert "\x1b[3" not in plain
        assert max(map(len, re.sub(r"\x1b\[[\d;]*m", "", plain).splitlines())) <= width
