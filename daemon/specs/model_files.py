"""Finds what is wrong with the files of a model's folder from names, sizes and headers: no tensor is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prefd.cache import weight_files
from prefd.cache.weight_files import BadHeader, Tensors
from prefd.daemon.machine.files import is_lfs_pointer, read_json
from prefd.daemon.text.wording import clip

WEIGHTS = "model*.safetensors"
POINTER_BYTES = 1024
"""No git-lfs pointer is larger."""
LOADED = {"bitnet", "mxfp4", "mxfp8", "fp8", "compressed-tensors", "modelopt", "awq", "gptq"}
"""The formats (`quant_method`) that mlx-lm knows, of the last two only some models."""
PACKED = {"U8", "I8", "I16", "U16", "I32", "U32", "F8_E4M3", "F8_E5M2"}
"""Types of numbers that no plain weight is stored in."""
REMEDY = (
    "name the model that it was made from (training.quantize quantizes one at load), or one in MLX's own format "
    "(mlx_lm.convert -q)"
)


def list_files(folder: Path, *patterns: str) -> list[Path]:
    """List what in a folder has a name of one of these patterns, in order; nothing that is hidden.

    On drives without its own file system macOS keeps `._config.json` beside `config.json`: that is no JSON, and no part of a model.
    """
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if not path.name.startswith(".")})


def faults_of_files(folder: Path, is_complete: bool = True) -> Iterator[str]:
    """Yields what keeps the model in `folder` from being loaded, in words that go on after its name; nothing is repeated.

    Unless `whole`, files that may still be on their way are not looked into further than they can be.
    """
    pointers = sorted(path.name for path in list_files(folder, "*") if _is_pointer(path))
    if pointers:
        other_files = f" and of {len(pointers) - 1} more files" if pointers[1:] else ""
        yield f"has a git-lfs pointer in the place of {clip(pointers[0])}{other_files}: run `git lfs pull` there"
        return
    headers = {}
    for path in list_files(folder, WEIGHTS):
        try:
            headers[path.name] = read_header(path)
        except BadHeader as error:
            if not is_complete:
                continue
            yield f"has a {clip(path.name)} that {error}: copy or download it again"
            return
    config = read_json(folder / "config.json")
    if is_complete and not (isinstance(config, dict) and isinstance(config.get("model_type"), str)):
        lacks = "cannot be read as JSON" if config is None else "has no model_type, which says what kind of model it is"
        yield f"has a config.json that {lacks}: copy or download it again"
        return
    if isinstance(config, dict) and (fault := _format_fault(config, list(headers.values()))):
        yield fault


def read_header(path: Path) -> Tensors:
    """Reads the tensors of a safetensors file by name. Raises `BadHeader`, also where the file cannot be read."""
    try:
        return weight_files.read_header(path).tensors
    except OSError as error:
        raise BadHeader(f"cannot be read ({error.strerror or error})") from error


def quantized_with(config: Mapping[str, Any]) -> str | None:
    """Returns the quantization format that a config names, where it is not MLX's own."""
    text = config.get("text_config")
    inner = text.get("quantization_config") if isinstance(text, dict) else None
    quantization = config.get("quantization_config") or inner
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    return None if "quantization" in config or not isinstance(method, str) else method


def _format_fault(config: Mapping[str, Any], headers: list[Tensors]) -> str | None:
    method = quantized_with(config)
    if method is None or (method in LOADED and method not in ("awq", "gptq")):
        return None
    tensors = {name: each for header in headers for name, each in header.items()}
    if not tensors:  # told as another fault, or still on their way
        return None
    problem = f"is quantized with {clip(method)}, as its config.json says, a format that mlx-lm cannot load"
    if not any(each.get("dtype") in PACKED for each in tensors.values()):
        return f"{problem}, though its weights are plain: take quantization_config out of config.json"
    if method not in LOADED:
        return f"{problem}: {REMEDY}"
    bits = (config.get("quantization_config") or {}).get("bits", 4)
    if bits != 4 or any(name.endswith(".g_idx") for name in tensors):
        reason = f"it has {bits} bits" if bits != 4 else "its groups are out of order, g_idx"
        return f"{problem} so ({reason}): {REMEDY}"
    return None


def _is_pointer(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= POINTER_BYTES and is_lfs_pointer(path)
