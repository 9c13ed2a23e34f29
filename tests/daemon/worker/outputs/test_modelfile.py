"""Ollama's Modelfile: what it begins with, and a template that writes chats as the model's own does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.runs.phase_outcomes import TrainingOutcome
from prefd.daemon.runs.phase_summaries import TrainingSummary
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.outputs.modelfile import write_modelfile
from prefd.daemon.worker_tasks.exports import ModelfileInput, WrittenModelfile
from support import tiny_model as tiny
from support.jobs_on_disk import job

DEFAULT = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe brief.<|im_end|>\n' }}{% endif %}" + tiny.CHATML
)
INST = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}"
    "{% elif m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
DATED = "{{ 'Today: ' + strftime_now('%d %b') }}" + tiny.CHATML
CHATS = [
    [("user", "Hi")],
    [("system", "Be kind."), ("user", "Hi")],
    [("user", "Hi"), ("assistant", "Yes?"), ("user", "Bye")],
]


def trained(home: Path, model: Path, pairs: Path) -> RunningJob:
    running_job = job(home, model, pairs)
    running_job.run.adapter.mkdir()
    running_job.run.write_outcome("training", TrainingOutcome(ok=True, reason="", summary=TrainingSummary(steps=1)))
    return running_job


def write(running_job: RunningJob, **more: Any) -> tuple[WrittenModelfile, str]:
    out = running_job.run.root / "Modelfile"
    return write_modelfile(running_job.home, ModelfileInput(job=1, out=str(out), **more)), out.read_text()


def run_go_template(text: str, chat: list[tuple[str, str]]) -> str:
    """What Ollama makes of a template of this form: Go's `range`, `if eq` and fields, and no more of Go's language."""
    match = re.search('TEMPLATE """(.*?)"""', text, re.DOTALL)
    assert match is not None
    system = re.search('SYSTEM """(.*?)"""', text, re.DOTALL)
    if system is not None and chat[0][0] != "system":
        chat = [("system", system[1]), *chat]
    body, generation = match[1].removeprefix("{{ range .Messages }}").rsplit("{{ end }}{{ end }}", 1)
    branches = dict(re.findall(r'\{\{ (?:else )?if eq \.Role "(\w+)" \}\}(.*?)(?=\{\{ else if|\Z)', body, re.DOTALL))
    return "".join(branches[role].replace("{{ .Content }}", content) for role, content in chat) + generation


def render_own(running_job: RunningJob, chat: list[tuple[str, str]]) -> str:
    messages = [{"role": role, "content": content} for role, content in chat]
    text = running_job.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return str(text).removeprefix("<s>")


@pytest.mark.parametrize(
    ("template", "chats", "more"),
    [(tiny.CHATML, CHATS, {}), (DEFAULT, CHATS, {}), (INST, CHATS[::2], {"bos_token": "<s>"})],
    ids=["chatml", "default system", "inst"],
)
def test_the_template_writes_chats_as_the_models_own(
    home: Path, tmp_path: Path, pairs_file: Path, template: str, chats: list[Any], more: dict[str, Any]
) -> None:
    running_job = trained(home, tiny.build_chat(tmp_path / "model", template, **more), pairs_file)
    (running_job.run.root / "gguf").mkdir()
    (running_job.run.root / "gguf" / "it.gguf").touch()
    written, text = write(running_job)
    assert (written.notes, written.begins_with) == ([], "FROM ./gguf/it.gguf")
    assert 'PARAMETER stop "<|im_end|>"' in text.splitlines()
    for chat in chats:
        assert run_go_template(text, chat) == render_own(running_job, chat)


def test_a_template_that_does_more_is_left_out_with_a_word(home: Path, tmp_path: Path, pairs_file: Path) -> None:
    running_job = trained(home, tiny.build_chat(tmp_path / "model", DATED), pairs_file)
    written, text = write(running_job, gguf=str(pairs_file))
    assert "TEMPLATE" not in text
    assert "cannot be said in Ollama's form" in written.notes[0]
    assert f"FROM {pairs_file}" in text


def test_it_begins_with_what_the_job_left(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    running_job = trained(home, tiny_model, pairs_file)
    with pytest.raises(
        JobError, match=r"no GGUF file, no fused model and no PEFT adapter .* `prefd gguf 1` writes the first"
    ):
        write(running_job)
    with pytest.raises(JobError, match=r"--gguf .*gone\.gguf: there is no such file"):
        write(running_job, gguf="/gone.gguf")
    running_job.run.peft.mkdir()
    assert write(running_job)[0].begins_with == f"FROM {tiny_model}; ADAPTER ./peft"
    running_job.run.fused.mkdir()
    (running_job.run.fused / "config.json").write_text('{"quantization": {"bits": 4}}')
    assert write(running_job)[0].begins_with.endswith("ADAPTER ./peft")
    (running_job.run.fused / "config.json").write_text("{}")
    assert write(running_job)[0].begins_with == "FROM ./fused"
