"""A spec may come through standard input or a pipe, in any of its languages."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.specs.spec_source import SpecSource, SpecUnreadable, guess_suffix
from prefd.daemon.text.parsed import MAX_BYTES
from support import homes
from support.programs import program_environment


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ('{"model": "m"}', ".json"),
        ('\ufeff  {"model": "m"}', ".json"),
        ('model = "m"\n[data]\npath = "p"\n', ".toml"),
        ("model: m\ndata: {path: p}\n", ".yaml"),
        ("", ".yaml"),
        ("# nothing but this", ".yaml"),
        ("model: [", ".yaml"),
    ],
)
def test_how_a_piped_spec_is_written_is_told_from_its_text(text: str, suffix: str) -> None:
    assert guess_suffix(text.encode()) == suffix


def test_a_pipe_is_read_to_its_end_however_slowly_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.chdir(tmp_path)
    opened = threading.Event()

    def write() -> None:
        with pipe.open("wb", buffering=0) as file:
            opened.set()
            file.write(b"model: m\n")
            file.write(b"data: {path: p}\n")

    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # so that the writer is there before it is read
    thread = threading.Thread(target=write)
    thread.start()
    opened.wait(10)
    source = SpecSource.read(pipe)
    thread.join()
    os.close(reader)
    assert (source.data, source.name, source.folder) == (b"model: m\ndata: {path: p}\n", "stdin.yaml", tmp_path)


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert SpecSource.read(tmp_path / "pipe").data == b""


def test_a_pipe_without_end_is_read_as_far_as_a_spec_may_go() -> None:
    assert len(SpecSource.read(Path("/dev/zero")).data) == MAX_BYTES + 1


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecUnreadable, match=r"Is a directory|not a regular file"):
        SpecSource.read(tmp_path)
    with pytest.raises(SpecUnreadable, match="No such file or directory"):
        SpecSource.read(tmp_path / "nothing")


@pytest.mark.parametrize("how", ["-", "/dev/stdin"])
def test_submit_takes_a_spec_from_standard_input(
    ready_home: Home, tmp_path: Path, tiny_model: Path, pairs_file: Path, how: str
) -> None:
    path = homes.write_spec(tmp_path / "spec.json", tiny_model, pairs_file.relative_to(tmp_path), name="piped")
    command = [sys.executable, "-P", "-m", "prefd.daemon.cli", "--home", str(ready_home.root), "submit", how]
    with path.open("rb") as stdin:
        done = subprocess.run(
            command, stdin=stdin, capture_output=True, text=True, cwd=tmp_path, env=program_environment(), check=False
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(ready_home.jobs / "stdin.json")
    assert str(pairs_file) in (ready_home.jobs / "stdin.json").read_text(), (
        "relative paths start where the command is run"
    )
