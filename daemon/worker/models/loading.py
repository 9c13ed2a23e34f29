"""Loads a model, with its adapter, and a tokenizer. Safetensors only; no model code is run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import (
    load_config,
    load_model,
    load_tokenizer,
    quantize_model,
)

from prefd.daemon.text.wording import format_value
from prefd.daemon.worker.device_trouble import raise_if_device_failed
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models import memory, peft_start
from prefd.daemon.worker.models.lookup_tables import bound_positions
from prefd.daemon.worker.models.narrow_adapters import narrow_adapters
from prefd.daemon.worker.models.source import (
    ModelSource,
    explain_loading_failure,
    read_adapter,
    read_model_json,
    stored_dtype,
)
from prefd.plugins.errors import describe_exception

ADAPTER_LEAVES = ("lora_a", "lora_b", "m")
DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def device() -> str:
    """Return what MLX computes on in this process: "cpu" or "gpu"."""
    return str(mx.default_device().type).rpartition(".")[2]


def compute_dtype(source: ModelSource) -> str:
    """Return the type that a forward pass of `source` computes in on this device.

    It is float32 on a CPU (half precision is 40 times slower there) and where the spec asks for it, the stored type elsewhere.
    """
    if device() == "cpu" or source.compute_dtype == "float32":
        return "float32"
    return DTYPES[stored_dtype(source)]


def load(source: ModelSource) -> nn.Module:
    """Load the model at `source`, in evaluation mode, its weights in memory. Raises `JobError` when it cannot be loaded."""
    model = load_lazily(source)
    read_weights(model, source.model)
    return model


def read_weights(model: nn.Module, name: str) -> None:
    """Read the weights of the model `name` into memory. Raises `JobError` where they do not fit."""
    memory.check_weights(model, name)
    mx.eval(model.parameters())


def load_lazily(source: ModelSource) -> nn.Module:
    """Load the model at `source` with its weights still on disk: each is read when it is first used.

    An adapter's own leaves are float32 whatever the model computes in, as those of a new adapter are: in half precision
    most steps of training would round to nothing.
    """
    model, _ = open_base(source)
    bound_positions(model)
    put_adapter(model, source)
    adapters = [
        (module, {name: module[name].astype(mx.float32) for name in ADAPTER_LEAVES if name in module})
        for module in model.modules()
        if "lora_a" in module
    ]
    model.set_dtype(getattr(mx, compute_dtype(source)))
    for module, leaves in adapters:
        module.update(leaves)
    if compute_dtype(source) != "float32":
        narrow_adapters(model)
    model.eval()
    return model


def open_base(source: ModelSource) -> tuple[nn.Module, dict[str, Any]]:
    """Open the model without its adapter, weights not read yet and of their stored types, and its config.

    Raises `JobError` when it cannot be loaded.
    """
    with _explain_failures(source, source.model):
        model, config = load_model(source.folder, lazy=True)
        if source.quantize is None:
            return model, config
        if "quantization" in config:
            raise JobError(f"model {source.model} is already quantized; remove training.quantize")
        return quantize_model(model, config, source.quantize.group_size, source.quantize.bits)


def put_adapter(model: nn.Module, source: ModelSource) -> None:
    """Load the adapter of `source`, if it has one, onto `model`. Raises `JobError` when it does not fit."""
    if source.adapter is None:
        return
    with _explain_failures(source, f"{source.model} with adapter {source.adapter}"):
        adapter = read_adapter(source.adapter)
        if adapter.is_peft:
            peft_start.put_peft_adapter(model, source, adapter)
        else:
            load_adapters(model, str(source.adapter))


@contextmanager
def _explain_failures(source: ModelSource, where: str) -> Iterator[None]:
    """Raise `JobError` for whatever goes wrong in loading a model inside the block."""
    try:
        yield
    except JobError:
        raise
    except Exception as error:  # whatever a model's code does with files that it was not written for
        raise_if_device_failed(error)
        raise JobError(f"model {where} cannot be loaded: {explain_loading_failure(source, error)}") from error


def tokenizer(source: ModelSource) -> Any:
    """Load mlx-lm's TokenizerWrapper for `source`, as `mlx_lm.load` makes it.

    It has the EOS ids of generation_config.json or, where there are none, those of config.json.
    """
    try:
        folder = source.config_folder
        eos_ids = load_config(folder).get("eos_token_id")
        if not all(isinstance(each, int) for each in (eos_ids if isinstance(eos_ids, list) else [eos_ids or 0])):
            raise ValueError(
                f"eos_token_id is {eos_ids!r} in its generation_config.json or config.json, and no token id"
            )
        return load_tokenizer(folder, eos_token_ids=eos_ids)
    except (ImportError, AttributeError) as error:
        for key in ("chat_template_type", "tool_parser_type"):
            if (kind := _tokenizer_setting(folder, key)) and kind in str(error):
                raise JobError(
                    f"model {source.model}: its tokenizer_config.json has {key} {format_value(kind)}, which mlx-lm {version('mlx-lm')} "
                    "has not; take a version of mlx-lm that has it, or write the model's template into chat_template.jinja and take "
                    f"{key} out"
                ) from error
        raise JobError(f"model {source.model}: its tokenizer cannot be loaded: {describe_exception(error)}") from error
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise JobError(f"model {source.model}: its tokenizer cannot be loaded: {str(error).strip()[:500]}") from error


def _tokenizer_setting(folder: Path, key: str) -> str | None:
    """A setting of tokenizer_config.json by which mlx-lm loads code of its own."""
    path = folder / "tokenizer_config.json"
    value = read_model_json(path).get(key) if path.is_file() else None
    return value if isinstance(value, str) else None


def check_same_vocabulary(policy: ModelSource, policy_tokenizer: Any, reference: ModelSource) -> None:
    """Check that both tokenizers mean the same text by an id, or raise `JobError`: the reference scores the policy's ids."""
    policy_vocabulary, reference_vocabulary = policy_tokenizer.get_vocab(), tokenizer(reference).get_vocab()
    if policy_vocabulary == reference_vocabulary:
        return
    different = sorted(
        token
        for token in policy_vocabulary.keys() | reference_vocabulary.keys()
        if policy_vocabulary.get(token) != reference_vocabulary.get(token)
    )
    raise JobError(
        f"reference {reference.model} has another tokenizer than {policy.model}: {len(different)} tokens differ "
        f"(such as {different[0]!r}), so its log-probabilities would be of other text; use a reference of the same family"
    )
