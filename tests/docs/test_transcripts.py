"""What transcripts in the documentation show is what the commands print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from prefd.daemon.cli import cli
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.states import State
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.runs.run_folder import Progress, RunDir
from support.homes import make_spec, run_folder
from support.pages import blocks
from support.paths import ROOT


@pytest.mark.smol
def test_the_preview_is_what_prefd_prints(home: Path, smol_model: Path, tmp_path: Path) -> None:
    (block,) = (block for block in blocks("console") if "$ prefd preview" in block.text)
    command, *lines = block.text.splitlines()
    (tmp_path / "SmolLM2-135M-Instruct").symlink_to(smol_model)
    (tmp_path / "pairs.jsonl").write_bytes((ROOT / "contrib" / "demo" / "pairs.jsonl").read_bytes())
    (tmp_path / "ipo.yaml").write_text(blocks("yaml", "docs/job.md")[0].text)
    name, *arguments = command.removeprefix("$ prefd preview ").split()
    command_line = ["--home", str(home), "preview", str(tmp_path / name), *arguments]
    printed = CliRunner().invoke(cli, command_line).stdout
    printed = printed.replace(str(smol_model.resolve()), "/home/me/SmolLM2-135M-Instruct")
    printed = printed.replace(str(tmp_path), "/home/me")
    assert [line.rstrip() for line in printed.splitlines()] == lines


def printed(home: Home, command: str) -> list[str]:
    """What a command prints, on stdout and stderr, for someone whose home is /home/me/prefd."""
    program, *arguments = command.split()
    assert program == "prefd"
    done = CliRunner(env={"COLUMNS": "120"}).invoke(cli, ["--home", str(home.root), *arguments])
    assert done.exit_code == 0, done.output
    return plain(done.output.replace(str(home.root), "/home/me/prefd"))


def plain(text: str) -> list[str]:
    """The lines of `text` with the same moment and duration everywhere, and columns as wide as their words."""
    text = re.sub(r"\d\d:\d\d:\d\d", "09:00:00", text)
    text = re.sub(r"\b(\d+m)?[\d.]+s\b", "1s", text)
    return [re.sub(r" {2,}", "  ", line).strip() for line in text.splitlines() if line.strip()]


def transcript(command: str, which: int = 0) -> list[str]:
    """What the page shows below a prompt with `command`."""
    texts = [
        part for block in blocks("console", "docs/job.md") for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    ]
    return plain([text.partition("\n")[2] for text in texts if text.partition("\n")[0] == command][which])


def test_init_prints_what_the_page_shows(home: Path) -> None:
    assert printed(Home(home), "prefd init") == transcript("prefd init")


def test_orders_print_what_the_page_shows(made: Home) -> None:
    """The page's two jobs, moved by hand through the states that they have there."""
    with JobTable.open(made.database) as table:
        specs = [make_spec(name=name, training={"iters": 21}) for name in ("smol-ipo", "smol-sigmoid")]
        for spec in specs:
            run_folder(made, table.add(spec, f"{spec.name}.json"))

        def move(job_id: int, *states: State, reason: str = "") -> None:
            for state in states:
                table.transition(job_id, state, reason, {"precompute": 1.0} if state == "training" else None)

        def assert_shown(command: str, which: int = 0) -> None:
            assert printed(made, command) == transcript(command, which)

        move(1, "precomputing", "training")
        RunDir(made.job(1)).write_progress(Progress("training", 3, 21, "steps"))
        assert_shown("prefd pause 1")
        assert_shown("prefd jobs")
        table.put_back(1, "")
        move(2, "precomputing")
        assert_shown("prefd cancel 2")
        table.put_back(2, "")
        assert_shown("prefd resume 1")
        for job_id in (1, 2):
            if job_id == 2:
                assert_shown("prefd retry 2")
            move(job_id, "training")
            move(job_id, "done", reason="trained 21 steps on 81 pairs")
            assert_shown(f"prefd wait {job_id}")
        assert_shown("prefd jobs", 1)
