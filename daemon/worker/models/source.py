"""Describes where a model comes from: a folder or a hub id, an adapter, a quantization. No tensor is loaded here.

The policy's start and the reference are the same kind of thing, a folder of weights with an optional adapter and
load-time quantization, so that an omitted `reference:` is exactly the policy's start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from prefd.daemon.specs import adapter_config
from prefd.daemon.specs.adapter_config import AdapterConfig
from prefd.daemon.specs.adapter_faults import AdapterError
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.model_files import REMEDY, faults_of_files, list_files, quantized_with, read_header
from prefd.daemon.specs.model_files import WEIGHTS as MODEL_WEIGHTS
from prefd.daemon.specs.path_or_hub_id import HUB_ID
from prefd.daemon.specs.training_spec import QuantizeSpec
from prefd.daemon.text.wording import clip
from prefd.daemon.worker.errors import JobError

WEIGHTS = "*.safetensors"
HUB_FILES = ["*.json", WEIGHTS, "tokenizer.model", "*.tiktoken", "*.txt", "*.jsonl", "*.jinja"]
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


@dataclass(frozen=True)
class ModelSource:
    """ModelSource is a model as a spec names it. `folder` is where its files are (a hub id is downloaded on first use)."""

    model: str
    adapter: Path | None = None
    quantize: QuantizeSpec | None = None
    compute_dtype: Literal["model", "float32"] = "model"
    """What passes compute in on a GPU: the type of the stored weights, or float32."""

    @cached_property
    def config_folder(self) -> Path:
        """Return the local folder with config and tokenizer; no weights are downloaded for it. Raises `JobError` where there is none."""
        folder = Path(self.model)
        if not folder.is_dir():
            folder = _download(self.model, [pattern for pattern in HUB_FILES if pattern != WEIGHTS])
        if not (folder / "config.json").is_file():
            raise JobError(f"model {self.model}: no config.json in {folder}; is it a model folder?")
        _check_files(self.model, folder, with_weights=False)
        return folder

    @cached_property
    def folder(self) -> Path:
        """Return the local folder with everything. Raises `JobError` where there is none or it holds no safetensors."""
        folder = self.config_folder
        if not Path(self.model).is_dir():
            folder = _download(self.model, HUB_FILES)
        if not list_files(folder, MODEL_WEIGHTS):
            pickles = [path.name for path in list_files(folder, *PICKLES)]
            found_files = f"only {pickles[0]}, a pickle, which can run code" if pickles else "none"
            remedy = "convert it (mlx_lm.convert)"
            if not pickles and not Path(self.model).is_dir():  # its tokenizer is here, and the hub may be out of reach
                remedy = f"run it again where the hub can be reached, and if the model has none there, {remedy}"
            raise JobError(f"model {self.model}: it needs model*.safetensors, found {found_files}; {remedy}")
        _check_files(self.model, folder, with_weights=True)
        return folder

    @property
    def weight_files(self) -> list[Path]:
        """Return the safetensors files of the weights; a hub id is downloaded for them."""
        return list_files(self.folder, MODEL_WEIGHTS)

    @property
    def has_weights(self) -> bool:
        """Say whether its weights are on this machine already; nothing is downloaded."""
        folder: Path | None = Path(self.model)
        if not Path(self.model).is_dir():
            folder = _find_downloaded(self.model)
        return folder is not None and bool(list_files(folder, MODEL_WEIGHTS))

    def config(self) -> dict[str, Any]:
        """Read config.json. Raises `JobError` where it cannot be read, or asks to run a model's own code."""
        config = read_model_json(self.config_folder / "config.json")
        if config.get("model_file") is not None:
            raise JobError(
                f"model {self.model}: config.json asks to run {config['model_file']}; prefd runs no model code"
            )
        return config


def explain_loading_failure(source: ModelSource, error: BaseException) -> str:
    """Explain why mlx-lm cannot load `source`, in words for the job's owner."""
    reason = clip(" ".join(str(error).split()), 400) or type(error).__name__
    if reason.startswith(("Missing ", "Received ")):  # mlx's, of a list of tensors
        reason = f"its weights are not those that its config.json describes: {reason}"
    if isinstance(error, KeyError | NameError | AttributeError | IndexError | TypeError):
        reason = f"{type(error).__name__}: {reason}"  # mlx-lm's own, which is no sentence
    method = quantized_with(source.config())
    return reason if method is None else f"{reason}; its config.json says that it is quantized with {method}: {REMEDY}"


def get_policy_source(spec: JobSpec) -> ModelSource:
    """Return the model, with its adapter, that the policy starts as."""
    adapter = None if spec.adapter is None else Path(spec.adapter)
    if spec.training is None:
        return ModelSource(spec.model, adapter)
    return ModelSource(spec.model, adapter, spec.training.quantize, spec.training.compute_dtype)


def get_reference_source(spec: JobSpec) -> ModelSource:
    """Return the reference: the one the spec names, or a frozen copy of where the policy starts, adapter and all."""
    reference = spec.named_reference
    if reference is None:
        return get_policy_source(spec)
    adapter = None if reference.adapter is None else Path(reference.adapter)
    compute_dtype = spec.training.compute_dtype if spec.training else "model"
    return ModelSource(reference.model, adapter, compute_dtype=compute_dtype)


def read_headers(source: ModelSource) -> dict[str, Mapping[str, Any]]:
    """Read from the safetensors headers each tensor's dtype, shape and data_offsets, by its name."""
    headers: dict[str, Mapping[str, Any]] = {}
    for path in source.weight_files:
        headers |= read_header(path)
    return headers


def stored_dtype(source: ModelSource) -> str:
    """Return the floating-point type that most of the stored weights have, in safetensors' words (F32, BF16, F16)."""
    counts: dict[str, int] = {}
    for tensor in read_headers(source).values():
        if tensor["dtype"] in ("F32", "BF16", "F16"):
            size = tensor["data_offsets"][1] - tensor["data_offsets"][0]
            counts[tensor["dtype"]] = counts.get(tensor["dtype"], 0) + size
    return max(counts, key=lambda dtype: counts[dtype], default="F32")


def read_adapter(adapter: Path) -> AdapterConfig:
    """Read the config of the folder `adapter`, in mlx-lm's words. Raises `JobError` where that cannot be loaded."""
    try:
        return adapter_config.read_adapter(adapter)
    except AdapterError as error:
        raise JobError(f"adapter {adapter} {error}") from error


def _check_files(model: str, folder: Path, with_weights: bool) -> None:
    for fault in faults_of_files(folder, with_weights):
        raise JobError(f"model {model} {fault}")


def _download(model: str, files: list[str]) -> Path:
    if not HUB_ID.match(model):
        raise JobError(f"model {model}: there is no such folder, and it is not a hub id (org/name)")
    from huggingface_hub import snapshot_download  # slow to import, and most models are local

    try:
        return Path(snapshot_download(model, allow_patterns=files))
    except (OSError, ValueError) as error:
        first_line = str(error).strip().partition("\n")[0] or type(error).__name__
        raise JobError(f"model {model}: it is no local folder and could not be downloaded ({first_line})") from error


def _find_downloaded(model: str) -> Path | None:
    """Find the folder that the weights of `model` were downloaded to before, None where they were not."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=["*.safetensors"], local_files_only=True))
    except (OSError, ValueError):
        return None


def read_model_json(path: Path) -> dict[str, Any]:
    """Read the object in a model's JSON file. Raises `JobError` where it cannot be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JobError(f"{path} cannot be read as JSON ({error}); copy or download the model again") from error
    if not isinstance(value, dict):
        raise JobError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value
