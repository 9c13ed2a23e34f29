"""`prefd modelfile` says what it wrote, what that begins with, and what Ollama has to do without."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prefd.daemon.commands import modelfile
from prefd.daemon.home.layout import Home
from prefd.daemon.worker_tasks.exports import ModelfileInput, WrittenModelfile
from support import homes


def test_a_modelfile_is_named_with_what_it_begins_with(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(home: Home, task: str, request: ModelfileInput, kind: Any) -> WrittenModelfile:
        return WrittenModelfile(path=request.out, begins_with="FROM ./fused", notes=["the chat template …"])

    monkeypatch.setattr(modelfile, "ask_worker", answer)
    homes.add_done(ready_home)
    written = homes.invoke(ready_home, "modelfile", 1)
    assert written.stdout == f"{ready_home.job(1)}/Modelfile\n"
    assert "FROM ./fused; next: ollama create NAME -f " in written.stderr
    assert "the chat template …" in written.stderr
    document = json.loads(homes.invoke(ready_home, "modelfile", 1, "--json").stdout)
    assert document["notes"] == ["the chat template …"]
