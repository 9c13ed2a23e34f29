"""`prefd gguf` and what it asks of a worker: where the file goes, and what is in the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.commands import gguf
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from prefd.daemon.worker_tasks.exports import GGUFInput, WrittenGGUF
from support import homes


def test_the_file_lies_in_the_jobs_folder_or_where_it_is_wanted(
    ready_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[GGUFInput] = []

    def answer(home: Home, task: str, request: GGUFInput, kind: Any) -> WrittenGGUF:
        requests.append(request)
        return WrittenGGUF(path=request.out, bytes=2_000_000, by="mlx-lm")

    monkeypatch.setattr(gguf, "ask_worker", answer)
    homes.add_done(ready_home)
    written = homes.invoke(ready_home, "gguf", 1)
    assert written.exit_code == 0, written.output
    assert written.stdout == f"{ready_home.job(1)}/gguf/smol-ipo-f16.gguf\n"
    assert "by mlx-lm; `prefd modelfile 1` makes it Ollama's" in written.stderr
    document = json.loads(
        homes.invoke(
            ready_home, "gguf", 1, "--out", tmp_path / "a.gguf", "--type", "q8_0", "--converter", "x", "--json"
        ).stdout
    )
    assert (document["path"], requests[-1].type) == (str(tmp_path / "a.gguf"), "q8_0")
    assert requests[-1].converter == str(Path("x").absolute())
    assert homes.invoke(ready_home, "gguf", 9).exit_code == Exit.NOT_FOUND


def test_a_worker_that_refuses_is_told(ready_home: Home, answers_in_process: None, known_bits: None) -> None:
    homes.add_failed(ready_home)
    for command in ("gguf", "modelfile"):
        refused = homes.invoke(ready_home, command, 1)
        assert (refused.exit_code, "job 1 has trained no policy to the end" in refused.stderr) == (1, True), (
            refused.output
        )
    assert not (ready_home.job(1) / "gguf").exists()
    homes.add_queued(ready_home, name="waits")
    for command in ("gguf", "modelfile"):
        early = homes.invoke(ready_home, command, 2)
        assert (early.exit_code, early.stderr) == (
            1,
            "error: job 2 (waits) is queued: its model can be written when it is done\n",
        )
