"""Opening a folder in a file manager, and where there is none to open it in."""

import sys
from pathlib import Path

import pytest

from prefd.daemon.machine import desktop


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is PATH, with stand-ins for the opening programs, which note what they open."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("open", "xdg-open"):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $1" >> "{tmp_path}/opened"\nexit ${{CODE:-0}}\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(desktop, "FINDER", folder / "open")
    for name in ("SSH_CONNECTION", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.mark.parametrize(
    ("platform", "variables", "program"),
    [
        ("darwin", {}, "open"),
        ("darwin", {"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, None),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, "xdg-open"),
        ("linux", {}, None),
        ("linux", {"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"}, None),
        ("linux", {"SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22", "DISPLAY": "localhost:10"}, "xdg-open"),
    ],
)
def test_a_folder_is_opened_where_the_user_sits(
    programs: Path, monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], program: str | None
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    opening = desktop.open_folder(programs)
    note = programs.parent / "opened"
    assert opening.is_open == (program is not None)
    assert (note.read_text() if note.exists() else "") == (f"{program} {programs}\n" if program else "")
    assert program or opening.words.startswith("not opened: ")


def test_a_program_that_fails_or_is_not_there_is_told(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("CODE", "4")
    assert desktop.open_folder(programs).words.endswith("xdg-open ended with exit code 4")
    monkeypatch.setenv("PATH", str(programs.parent))
    assert desktop.open_folder(programs).words == "not opened: there is no xdg-open (package xdg-utils) here"


def test_a_file_manager_that_goes_on_running_has_opened_it(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    (programs / "open").write_text("#!/bin/sh\nexec sleep 5\n")
    assert desktop.open_folder(programs, seconds=0.05).is_open
