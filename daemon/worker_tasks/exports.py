"""The inputs and answers of the tasks that take a trained job out of prefd: as GGUF, and for Ollama."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from prefd.daemon.text.document_model import DocumentModel
from prefd.daemon.worker_tasks.inputs import WorkerInput

GGUFType = Literal["f16", "bf16", "f32", "q8_0", "auto"]


class GGUFInput(WorkerInput):
    """GGUFInput is the input of `gguf`: the job, the file to write, and who is to write it."""

    job: int
    """Its number."""
    out: str
    converter: str | None = None
    """llama.cpp's convert_hf_to_gguf.py, or the folder it is in; None: the one on the PATH, or mlx-lm's."""
    type: GGUFType = "f16"


class WrittenGGUF(DocumentModel):
    """WrittenGGUF says which file was written, and by which converter."""

    path: str
    bytes: int
    by: str


class ModelfileInput(WorkerInput):
    """ModelfileInput is the input of `modelfile`: the job for which Ollama's Modelfile is written, and where."""

    job: int
    """Its number."""
    out: str
    gguf: str | None = None
    """The GGUF file that it is to begin with; None: the job's own, its fused model, or base and PEFT adapter."""


class WrittenModelfile(DocumentModel):
    """WrittenModelfile says what was written, and what Ollama will have to do without."""

    path: str
    begins_with: str
    """What its FROM names, and its ADAPTER."""
    notes: Sequence[str] = ()
