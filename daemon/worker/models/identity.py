"""Identifies a model as a reference by everything in its files that changes its numbers; no tensor is loaded."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

from prefd.cache.fingerprint import ReferenceFingerprint, digest_config, digest_json, digest_weights
from prefd.daemon.specs.model_files import list_files
from prefd.daemon.worker.models.source import ModelSource, read_adapter, read_model_json, stored_dtype

SCORING = 3
"""The version of the way of scoring: one more whenever a change to it changes a number, be it in the last digit.

1: logits at every position; 2: prompts shared, logits at answers, sums over the vocabulary in pairs;
3: segments padded to a multiple of 8, no longer of 32.
"""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "*.tiktoken", "added_tokens.json")


def identify(source: ModelSource, compute_dtype: str, device: str, memo: Path | None = None) -> ReferenceFingerprint:
    """Make the fingerprint of `source` as a reference. `compute_dtype` is what its forward pass computes in on `device`."""
    config = digest_config(source.config())  # first: a fault in it is reported before the weights are fetched
    versions = {name: metadata.version(name) for name in ("mlx", "mlx-lm")}
    identity = {
        "weights": digest_weights(source.weight_files, memo),
        "adapter": None if source.adapter is None else _digest_adapter(source.adapter, memo),
        "config": config,
        "weight_dtype": stored_dtype(source),
        "compute_dtype": compute_dtype,
        "quantization": None if source.quantize is None else source.quantize.model_dump(),
        "tokenizer": _digest_files(source.folder, TOKENIZER_FILES),
        "chat_template": _digest_template(source.folder),
        "scoring": SCORING,
        "mlx": _drop_patch_number(versions["mlx"]),
        "mlx_lm": _drop_patch_number(versions["mlx-lm"]),
    }
    adapter = None if source.adapter is None else str(source.adapter)
    return ReferenceFingerprint(
        identity, {"model": source.model, "adapter": adapter, "device": device, "versions": versions}
    )


def _digest_adapter(adapter: Path, memo: Path | None) -> str:
    config = read_adapter(adapter)
    relevant_settings = {name: config.raw.get(name) for name in ("fine_tune_type", "num_layers", "lora_parameters")}
    if config.is_peft:
        relevant_settings = {"peft": config.fine_tune_type} | {
            name: config.lora_parameters[name] for name in ("rank", "scale")
        }
    return digest_json([relevant_settings, digest_weights([config.weights], memo)])


def _digest_files(folder: Path, patterns: tuple[str, ...]) -> str:
    files = list_files(folder, *patterns)
    return digest_json({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files})


def _digest_template(folder: Path) -> str:
    """Digest everything that turns messages into text: the template, wherever it is kept, and the special tokens."""
    config = folder / "tokenizer_config.json"
    files = [path for path in list_files(folder, "*.jinja") if path.is_file()]
    return digest_json(
        [read_model_json(config) if config.is_file() else None, [path.read_text(encoding="utf-8") for path in files]]
    )


def _drop_patch_number(version: str) -> str:
    return ".".join(version.split(".")[:2])
