"""`prefd open`, with a stand-in for what opens folders."""

import json
import shutil
from pathlib import Path

import pytest

from prefd.daemon.commands import open as command
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.desktop import Opening
from support.homes import add_done, invoke


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    opened: list[Path] = []

    def open_folder(folder: Path) -> Opening:
        opened.append(folder)
        return Opening(True, "opened in Finder")

    monkeypatch.setattr(command, "open_folder", open_folder)
    return opened


def test_the_home_and_a_jobs_folder_are_opened_and_named(ready_home: Home, opened: list[Path]) -> None:
    job = add_done(ready_home)
    assert invoke(ready_home, "open").stdout.strip() == str(ready_home.root)
    result = invoke(ready_home, "open", job.id, "--json")
    assert opened == [ready_home.root, ready_home.job(job.id)]
    assert json.loads(result.stdout) == {
        "schema": 1, "path": str(opened[1]), "opened": True, "detail": "opened in Finder",
    }  # fmt: skip


def test_a_folder_that_is_not_there_is_not_opened(ready_home: Home, opened: list[Path]) -> None:
    job = add_done(ready_home)
    shutil.rmtree(ready_home.job(job.id))
    gone = invoke(ready_home, "open", job.id)
    assert gone.exit_code == Exit.NOT_FOUND
    assert "has no folder any more" in gone.stderr
    assert invoke(ready_home, "open", 99).exit_code == Exit.NOT_FOUND
    assert opened == []
