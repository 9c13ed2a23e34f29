"""Writes Ollama's Modelfile for a trained job: what it begins with, its chat template in Ollama's own form, where answers end."""

from __future__ import annotations

import os
from pathlib import Path

from prefd.cache.segments.durable import whole_file
from prefd.daemon.home.layout import Home
from prefd.daemon.worker.data.prompts import Prompter, Settings
from prefd.daemon.worker.data.turns_template import Around, NoTurns, TurnsTemplate, take_apart
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models.source import read_model_json
from prefd.daemon.worker.outputs.outputs import require_folder, require_trained
from prefd.daemon.worker.outputs.published import report_write_errors
from prefd.daemon.worker_tasks.exports import ModelfileInput, WrittenModelfile

QUOTES = '"""'


def write_modelfile(home: Home, request: ModelfileInput) -> WrittenModelfile:
    """Write the Modelfile of a job. Raises `JobError` where the job left nothing that Ollama can begin with."""
    job = RunningJob.load(home, request.job)
    require_trained(job)
    require_folder(request.out)
    out, notes = Path(request.out), list[str]()
    begin = _choose_begin(job, None if request.gguf is None else Path(request.gguf), out.parent)
    lines = [*begin]
    prompter = Prompter(job.tokenizer, Settings.from_spec(job.spec.data))
    try:
        lines += [*_write_template(take_apart(prompter))]
    except NoTurns as reason:
        notes.append(
            f"the chat template cannot be said in Ollama's form ({reason}), so the file has none: Ollama then goes by the model's "
            "own, where it knows it; look at what it answers"
        )
    ends = [job.tokenizer.decode([token], skip_special_tokens=False) for token in sorted(job.tokenizer.eos_token_ids)]
    lines += [f'PARAMETER stop "{end}"' for end in ends if end.strip() and '"' not in end]
    partial = out.with_name(f".{out.name}.partial")
    with report_write_errors("the Modelfile", out.parent), whole_file(out, partial, durable=True) as file:
        file.write(("\n".join(lines) + "\n").encode())
    return WrittenModelfile(path=str(out), begins_with="; ".join(begin), notes=notes)


def _choose_begin(job: RunningJob, gguf: Path | None, folder: Path) -> list[str]:
    """Choose what the model begins with: a GGUF file, the fused model, or its base with the PEFT adapter on it."""
    run = job.run
    if gguf is not None and not gguf.is_file():
        raise JobError(f"--gguf {gguf}: there is no such file; `prefd gguf {run.root.name}` writes one")
    own = sorted((run.root / "gguf").glob("*.gguf"), key=lambda path: path.stat().st_mtime)
    if gguf is not None or own:
        return [f"FROM {_write_path(gguf or own[-1], folder)}"]
    if run.fused.is_dir() and "quantization" not in read_model_json(run.fused / "config.json"):
        return [f"FROM {_write_path(run.fused, folder)}"]
    if run.peft.is_dir():
        return [f"FROM {job.policy.folder}", f"ADAPTER {_write_path(run.peft, folder)}"]
    quantized = (
        "; its fused model is quantized in MLX's own form, which Ollama does not read" if run.fused.is_dir() else ""
    )
    raise JobError(
        f"job {run.root.name} has no GGUF file, no fused model and no PEFT adapter for Ollama to begin with{quantized}: "
        f"`prefd gguf {run.root.name}` writes the first, output.fuse and output.peft in a spec the others"
    )


def _write_path(path: Path, folder: Path) -> str:
    """Write a path as Ollama reads it: from the Modelfile's own folder where it lies in there, so that both can be moved."""
    path, folder = path.absolute(), folder.absolute()
    return f"./{os.path.relpath(path, folder)}" if path.is_relative_to(folder) else str(path)


def _write_template(turns: TurnsTemplate) -> list[str]:
    """Write the turns as a Go template over `.Messages`. Raises `NoTurns` where a text would be taken for more than text."""
    roles = [(role, around) for role in ("system", "user", "assistant") if (around := getattr(turns, role)) is not None]
    branches = [
        f'{{{{ {"if" if index == 0 else "else if"} eq .Role "{role}" }}}}{_write_turn(around)}'
        for index, (role, around) in enumerate(roles)
    ]
    template = f"{{{{ range .Messages }}}}{''.join(branches)}{{{{ end }}}}{{{{ end }}}}{turns.generation}"
    texts = [turns.generation, turns.default_system or "", *(f"{each.before}{each.after}" for _, each in roles)]
    if any("{{" in text or "}}" in text or QUOTES in text for text in texts):
        raise NoTurns(f"it writes {{{{, }}}} or {QUOTES}")
    lines = [f"TEMPLATE {QUOTES}{template}{QUOTES}"]
    return lines if turns.default_system is None else [*lines, f"SYSTEM {QUOTES}{turns.default_system}{QUOTES}"]


def _write_turn(around: Around) -> str:
    return f"{around.before}{{{{ .Content }}}}{around.after}"
