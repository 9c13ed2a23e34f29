"""Notes what an adapter's config says of the model that it was trained on, where that may be another than the job's."""

from __future__ import annotations

import re
from pathlib import Path, PurePath

from prefd.cache.weight_files import BadHeader
from prefd.daemon.specs.adapter_config import AdapterConfig
from prefd.daemon.specs.model_files import read_header
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.peft_targets import find_missing_targets
from prefd.daemon.worker.models.source import ModelSource, read_adapter

CONVERTED = re.compile(r"[-_.](mlx|hf|bf16|fp16|fp32|bnb|unsloth|\d+-?bit|mxfp4|mxfp8|nvfp4|q\d+)(?=$|[-_.])")
"""What the name of a converted model has, and the model itself has not."""
SNAPSHOT = re.compile(r"models--(?P<owner>.+?)--(?P<name>[^/\\]+)[/\\]snapshots[/\\]")


def describe_adapter(source: ModelSource) -> list[str]:
    """Write what the owner of the adapter of `source` should know of it, a line each; nothing where it has none.

    Raises `JobError` for an adapter that cannot be read.
    """
    if source.adapter is None:
        return []
    adapter = read_adapter(source.adapter)
    return [*_describe_base(source, adapter), *_describe_missing_targets(adapter)]


def _describe_base(source: ModelSource, adapter: AdapterConfig) -> list[str]:
    key = "base_model_name_or_path" if adapter.is_peft else "model"
    base, revision = adapter.raw.get(key), adapter.raw.get("revision")
    notes = []
    if isinstance(base, str) and base and not _is_same_place(base, source.model):
        note = f"adapter {adapter.folder} was trained on {base} ({key})"
        notes.append(
            f"{note}, which is taken to be {source.model} by its name"
            if _name(base) == _name(source.model)
            else f"{note}, and is put on {source.model}: on another model's weights it means nothing; name the one that it belongs to"
        )
    if adapter.is_peft and revision not in (None, "", "main"):
        notes.append(
            f"adapter {adapter.folder} was trained on revision {revision} of its model, and is put on {source.model} as it is here"
        )
    return notes


def _describe_missing_targets(adapter: AdapterConfig) -> list[str]:
    if not adapter.is_peft:
        return []
    try:
        names = [name.removeprefix("base_model.model.") for name in read_header(adapter.weights)]
    except BadHeader as error:
        raise JobError(f"adapter {adapter.folder}: {adapter.weights.name} {error}; copy it again") from error
    modules = {re.split(r"\.lora_", name)[0] for name in names}
    missing = find_missing_targets(adapter, modules)
    if not missing:
        return []
    places = "it" if len(missing) == 1 else "them"
    return [
        f"adapter {adapter.folder} lists {', '.join(missing)} in its config and has no tensors for {places}: no training puts it there"
    ]


def _is_same_place(base: str, model: str) -> bool:
    return base == model or (Path(base).exists() and Path(base).resolve() == Path(model).resolve())


def _name(model: str) -> str:
    """The name of a model without its owner, its folder and how it was converted, to compare it by."""
    if match := SNAPSHOT.search(model):
        model = match["name"]
    return CONVERTED.sub("", PurePath(model.replace("\\", "/")).name.lower())
