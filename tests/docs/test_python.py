"""Every Python block of the documentation runs, and does what its page says."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from prefd.plugins.conformance import assert_conforms
from prefd.plugins.conformance.reporters import ROWS, assert_reports
from prefd.plugins.manager import load_plugins
from prefd.plugins.types import Pair, UnusableRow
from support.jobs_on_disk import make_job, run_precompute, run_training
from support.pages import Block, blocks

TRIED = {
    "docs/live.md": 1,
    "docs/python.md": 4,
    "docs/writing-a-loss.md": 5,
    "docs/from-trl.md": 1,
    "docs/reporters.md": 1,
}
"""Blocks of each page that a test here, tests/docs/test_tutorial.py or tests/daemon/live/test_client.py, tries. One that is added needs a test too."""


def block_with(words: str, page: str) -> Block:
    (only_block,) = (block for block in blocks("python", page) if words in block.text and not block.title)
    return only_block


def run(block: Block, text: str | None = None) -> dict[str, Any]:
    """The names that a block defines, from a page's text or another."""
    names: dict[str, Any] = {}
    source = block.text if text is None else text
    exec(compile(source, str(block), "exec", dont_inherit=True), names)  # noqa: S102  # our own pages
    return names


def test_every_block_is_tried() -> None:
    assert Counter(block.page for block in blocks("python")) == TRIED


def test_the_loss_trains_a_policy_with_its_extra_metric(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    source = block_with("class Squared", "docs/writing-a-loss.md").text
    settings = next(block.text for block in blocks("toml", "docs/writing-a-loss.md") if "plugins" in block.text)
    job = make_job(
        home,
        model=str(tiny_model),
        data={"path": str(pairs_file)},
        loss={"name": "squared", "target": 2.0},
        training={"iters": 3},
    )
    (home / "squared.py").write_text(source)
    (home / "config.toml").write_text(settings)
    run_precompute(job)
    run_training(job)
    lines = list(job.run.read_metrics())
    assert lines[0]["loss"] == pytest.approx(4.0, abs=1e-4)
    assert "logit" in lines[0]


def test_the_loss_conforms() -> None:
    names = run(block_with("class Squared", "docs/writing-a-loss.md"))
    assert_conforms(names["Squared"], "squared")


def test_the_loss_of_single_answers_conforms() -> None:
    names = run(block_with("class Thumbs", "docs/writing-a-loss.md"))
    assert_conforms(names["Thumbs"], "thumbs")


def test_the_row_format_reads_its_rows(tmp_path: Path) -> None:
    block = block_with("register_formats", "docs/writing-a-loss.md")
    (tmp_path / "good.py").write_text(block.text)
    formats = load_plugins([tmp_path / "good.py"]).formats
    row = {"question": "Two and two?", "good": "Four.", "bad": "Five."}
    row_format = formats["good_and_bad"]
    assert row_format.matches(row)
    assert not row_format.matches({"question": "Two and two?"})
    assert row_format.pair(row) == Pair("Two and two?", "Four.", "Five.")
    with pytest.raises(UnusableRow, match="empty"):
        row_format.pair(row | {"good": ""})


def test_the_reporter_conforms_and_writes_its_table(tmp_path: Path) -> None:
    names = run(block_with("register_reporters", "docs/reporters.md"))
    assert_reports(names["Table"](), tmp_path, "table")
    written = (tmp_path / "table" / "metrics.csv").read_text().splitlines()
    assert written == [f"{row.step},{name},{value}" for row in ROWS for name, value in row.metrics.items()]


@pytest.mark.filterwarnings("ignore")  # matplotlib's own, where there is no display
def test_the_notebook_example_draws_the_cache(
    home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_precompute(make_job(home, model=str(tiny_model), data={"path": str(pairs_file)}))
    (tmp_path / "SmolLM2-135M-Instruct").symlink_to(tiny_model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    run(block_with("ReferenceLogprobs", "docs/python.md"))
    assert (tmp_path / "reference-logprobs.png").stat().st_size > 1000


def test_the_loss_in_a_notebook_falls(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "SmolLM2-135M-Instruct").symlink_to(tiny_model)
    monkeypatch.chdir(tmp_path)
    losses = run(block_with("PolicyLogprobs", "docs/python.md"))["losses"]
    assert losses[0] > losses[1] > losses[2]


def test_the_zarr_example_reads_a_segment(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    job = make_job(home, model=str(tiny_model), data={"path": str(pairs_file)})
    run_precompute(job)
    block = block_with("zarr.open_group", "docs/python.md")
    names = run(block, re.sub(r'"cache/refs.*?"', repr(str(job.store.segments[0].path)), block.text))
    assert len(names["logprob"]) == job.store.segments[0].tokens


def test_the_metrics_example_has_a_loss_for_each_step(
    home: Path, tiny_model: Path, pairs_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(
        home, model=str(tiny_model), data={"path": str(pairs_file)}, loss={"name": "cpo"}, training={"iters": 2}
    )
    run_training(job)
    monkeypatch.chdir(tmp_path)
    assert len(run(block_with("metrics.jsonl", "docs/python.md"))["losses"]) == 2


def test_the_script_of_trl_has_nothing_that_its_page_does_not_explain() -> None:
    (block,) = blocks("python", "docs/from-trl.md")
    page = (Path(__file__).parents[2] / block.page).read_text(encoding="utf-8").replace(block.text, "")
    calls = [node for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Call)]
    config = next(call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "DPOConfig")
    assert len(config.keywords) > 10
    for keyword in config.keywords:
        assert f"`{keyword.arg}" in page, keyword.arg
