"""Writes a trained job's model as GGUF, with llama.cpp's own converter or mlx-lm's; which tensors that takes is theirs to know.

mlx-lm's converter is there already, but it is right for few models: what it would get wrong without a word is refused here.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.gguf import HfVocab, convert_to_gguf

from prefd.cache.segments.durable import flush
from prefd.daemon.home.layout import Home
from prefd.daemon.specs.model_files import WEIGHTS as MODEL_WEIGHTS
from prefd.daemon.specs.model_files import list_files
from prefd.daemon.text.sizes import format_size
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.models import memory
from prefd.daemon.worker.models.source import ModelSource, read_headers, read_model_json
from prefd.daemon.worker.outputs.outputs import require_folder, require_trained, write_fused_model
from prefd.daemon.worker.outputs.published import report_write_errors
from prefd.daemon.worker_tasks.exports import GGUFInput, WrittenGGUF
from prefd.plugins.errors import describe_exception

log = logging.getLogger(__name__)

SCRIPTS = ("convert_hf_to_gguf.py", "convert_hf_to_gguf")
"""What llama.cpp calls its converter."""
REMEDY = "llama.cpp's convert_hf_to_gguf.py may: install llama.cpp, or name that script with --converter"
FAMILIES = ("llama", "mistral")
"""What mlx-lm's converter gets right; it names the experts of mixtral as no reader of GGUF does."""
OWN_TYPE = "f16"
TOKEN_TABLE = "model.embed_tokens.weight"


def write_gguf(home: Home, request: GGUFInput) -> WrittenGGUF:
    """Write the model of a job as GGUF. Raises `JobError` where it has trained none, or where no converter can."""
    job = RunningJob.load(home, request.job)
    require_trained(job)
    require_folder(request.out)
    memory.bound_device_memory(job.parallel)
    out, script = Path(request.out), _find_script(request.converter)
    if script is None:  # looked at before a model is merged for nothing
        _require_fit(job.policy.folder, job.policy.config(), request.type)
    with _have_model(job) as folder:
        by = convert(folder, out, script, request.type)
    log.info("%s: %s, by %s", out, format_size(out.stat().st_size), by)
    return WrittenGGUF(path=str(out), bytes=out.stat().st_size, by=by)


@contextmanager
def _have_model(job: RunningJob) -> Iterator[Path]:
    """Hold a folder with the job's fused model in full precision: its own, or one that is written for the block."""
    if job.run.fused.is_dir() and "quantization" not in read_model_json(job.run.fused / "config.json"):
        yield job.run.fused
        return
    folder = job.run.root / ".gguf.model"
    is_quantized = job.policy.quantize is not None or "quantization" in job.policy.config()
    try:
        write_fused_model(job, folder, dequantize=is_quantized)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def convert(folder: Path, out: Path, script: Path | None, kind: str) -> str:
    """Convert the model in `folder` to the file `out`, which appears whole or not at all, and say by whom that was done.

    `script`: llama.cpp's; None is mlx-lm's converter. Raises `JobError` where that cannot.
    """
    partial = out.with_name(f".{out.stem}.partial.gguf")  # MLX puts the suffix behind a name without it
    try:
        with report_write_errors("the GGUF file", out.parent):
            if script is None:
                _convert_by_mlx_lm(folder, partial, kind)
            else:
                _convert_by_llama_cpp(script, folder, partial, kind)
            flush(partial)
            partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return "mlx-lm" if script is None else str(script)


def _find_script(converter: str | None) -> Path | None:
    """Find llama.cpp's converter where it is named, or on the PATH; None where it is not installed."""
    if converter is None:
        return next((Path(script) for name in SCRIPTS if (script := shutil.which(name))), None)
    path = Path(converter)
    if path.is_dir():
        path = path / SCRIPTS[0]
    if not path.is_file():
        raise JobError(
            f"--converter {converter}: there is no {path.name} there; it lies at the top of llama.cpp's sources"
        )
    return path


def _convert_by_llama_cpp(script: Path, folder: Path, out: Path, kind: str) -> None:
    own = [str(script)] if os.access(script, os.X_OK) else [sys.executable, str(script)]
    command = [*own, str(folder), "--outfile", str(out), "--outtype", kind]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    except OSError as error:
        raise JobError(f"llama.cpp's converter {script} cannot be run: {error.strerror or error}") from error
    if done.returncode or not out.is_file():
        words = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = words[-1][:400] if words else f"exit code {done.returncode}"
        raise JobError(f"llama.cpp's converter {script} cannot convert this model: {reason}")


def _require_fit(folder: Path, config: Mapping[str, Any], kind: str) -> None:
    if kind != OWN_TYPE:
        raise JobError(f"mlx-lm's converter, the only one here, writes {OWN_TYPE} and not {kind}; {REMEDY}")
    if (reason := explain_unfit(folder, config)) is not None:
        raise JobError(f"mlx-lm's converter, the only one here, cannot convert this model: {reason}; {REMEDY}")


def _convert_by_mlx_lm(folder: Path, out: Path, kind: str) -> None:
    config = dict(read_model_json(folder / "config.json"))
    _require_fit(folder, config, kind)
    if isinstance(rope := config.get("rope_parameters"), dict):
        config.setdefault("rope_theta", rope.get("rope_theta", 10000.0))
    weights: dict[str, mx.array] = {}
    for path in list_files(folder, MODEL_WEIGHTS):
        loaded = mx.load(str(path))
        assert isinstance(loaded, dict)  # what safetensors give
        weights |= loaded
    try:
        convert_to_gguf(folder, weights, config, str(out))
    except (KeyError, NotImplementedError, AssertionError) as error:
        raise JobError(
            f"mlx-lm's converter cannot convert this model: {describe_exception(error)}; {REMEDY}"
        ) from error


def explain_unfit(folder: Path, config: Mapping[str, Any]) -> str | None:
    """Explain what of the model in `folder` mlx-lm's converter would leave out or write wrong; None where it is right."""
    family = config.get("model_type")
    if family not in FAMILIES:
        return f"it is a {family}, and {' and '.join(FAMILIES)} are what that knows"
    if config.get("attention_bias") or config.get("mlp_bias"):
        return "its layers have biases, which that does not order as llama.cpp reads them"
    heads, size = config.get("num_attention_heads", 1), config.get("hidden_size", 0)
    if config.get("head_dim") not in (None, size // heads):
        return f"its heads have {config['head_dim']} dimensions and not {size} / {heads}, which that does not write"
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if (scaling := rope.get("rope_type", rope.get("type"))) not in (None, "default"):
        return f"its positions are scaled ({scaling}), which that does not write"
    return _explain_tokenizer(folder)


def _explain_tokenizer(folder: Path) -> str | None:
    path = folder / "tokenizer.json"
    if not path.is_file():
        return "it has no tokenizer.json"
    model = read_model_json(path).get("model") or {}
    if model.get("type") == "BPE" and not model.get("byte_fallback"):
        return "its tokenizer is byte-level BPE, and that writes every tokenizer as SentencePiece"
    if not isinstance(model.get("vocab"), dict):
        return f"its tokenizer is of the type {model.get('type')}, whose scores that does not write"
    tokens: int = HfVocab.load(folder).vocab_size
    rows = read_headers(ModelSource(str(folder))).get(TOKEN_TABLE, {}).get("shape", [tokens])[0]
    if rows != tokens:
        return f"its table of tokens has {rows} rows and its tokenizer {tokens} tokens"
    return None
