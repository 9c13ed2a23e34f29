"""Checks what a spec points to without loading it: model, adapter and dataset paths. Hub ids pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefd.daemon.machine.cloud import IN_CLOUD, find_in_cloud, find_placeholder
from prefd.daemon.machine.files import read_json
from prefd.daemon.machine.readability import explain_unreadable
from prefd.daemon.specs.adapter_config import read_adapter
from prefd.daemon.specs.adapter_faults import CONFIG, AdapterError
from prefd.daemon.specs.data_sources import Source
from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.local_files import list_data, list_folder
from prefd.daemon.specs.model_files import WEIGHTS, faults_of_files, list_files
from prefd.daemon.text.text_fault import TextFault
from prefd.daemon.text.wording import clip

INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def faults_of_sources(spec: JobSpec) -> list[TextFault]:
    """Lists what is wrong with each source of a resolved spec that cannot be what it should be."""
    return list(_iterate_faults(spec))


def find_setting(spec: JobSpec, path: str) -> str:
    """Return the setting of the spec, as `data.path[0]`, that `path` was made of; "" where it is none of them."""
    for place, value in _iterate_texts(spec.model_dump(exclude_unset=True)):
        if value and (path == value or path.endswith(f"/{os.path.normpath(value)}")):
            return place
    return ""


def _iterate_texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text in nested mappings and lists with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _iterate_texts(each, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _iterate_texts(each, f"{place}[{index}]")


def format_location(path: Path) -> str:
    """Formats a path for a message: on one line, printable, and no longer than a message may be."""
    return clip(str(path), 300)


def _iterate_faults(spec: JobSpec) -> Iterator[TextFault]:
    yield from _model_faults("model", spec.model)
    yield from _adapter_faults("adapter", spec.adapter)
    if spec.named_reference:
        yield from _model_faults("reference.model", spec.named_reference.model)
        yield from _adapter_faults("reference.adapter", spec.named_reference.adapter)
    for source in spec.data.sources:
        yield from _data_faults(source.key, source)
    yield from _held_out_faults(spec.data)
    yield from _file_faults("data.exclude", spec.data.exclude, "the list of pairs")
    yield from _file_faults("eval_samples.prompts", spec.prompts_file, "the file of prompts")
    yield from _hub_setting_faults(spec.data)


def _model_faults(field: str, value: str) -> Iterator[TextFault]:
    folder = Path(value)
    if not folder.is_absolute():  # a hub id: whether it can be had is the worker's to find out
        return
    if folder.is_file():
        yield TextFault(f"{format_location(folder)} is a file: name the folder that it is in", field)
        return
    if not folder.is_dir():
        yield TextFault(
            f"no such folder: {format_location(folder)} (a model on the hub is written as organisation/name)", field
        )
        return
    if (reason := explain_unreadable(folder)) is not None:
        yield TextFault(f"{format_location(folder)} {reason}", field)
        return
    if (cloud := find_in_cloud(list_folder(folder))) is not None:
        yield TextFault(f"{format_location(cloud)} {IN_CLOUD}", field)
        return
    if not (folder / "config.json").is_file():
        if (folder / CONFIG).is_file():
            base = "reference.adapter" if field.startswith("reference") else "adapter"
            yield TextFault(
                f"{format_location(folder)} is an adapter: name it as {base}, and the model that it is on as {field}",
                field,
            )
            return
        yield TextFault(f"{format_location(folder)} has no config.json: is it a model folder?", field)
    if not list_files(folder, WEIGHTS):
        if list_files(folder, *PICKLES):
            yield TextFault(
                f"{format_location(folder)} has its weights as pickles only; prefd loads safetensors only: convert it first",
                field,
            )
        else:
            strays = [path.name for path in list_files(folder, "*.gguf", "*.safetensors")]
            detail = f", only {clip(strays[0])}, which mlx-lm does not load by that name" if strays else ""
            yield TextFault(f"{format_location(folder)} has no weights (model*.safetensors){detail}", field)
        return
    yield from _content_faults(field, folder)


def _content_faults(field: str, folder: Path) -> Iterator[TextFault]:
    """Faults of the files of a model folder that has its config and weights."""
    yield from (
        TextFault(f"{format_location(folder)} {fault}", field) for fault in faults_of_files(folder, is_complete=False)
    )
    index = read_json(folder / INDEX)
    weights = index.get("weight_map") if isinstance(index, dict) else None
    files = {str(file) for file in weights.values()} if isinstance(weights, dict) else set()
    if missing := sorted(name for name in files if not (folder / name).is_file()):
        yield TextFault(
            f"{format_location(folder)} lacks {clip(missing[0])} ({len(missing)} of {len(files)} files that its index names)",
            field,
        )


def _adapter_faults(field: str, value: str | None) -> Iterator[TextFault]:
    if value is None:
        return
    if Path(value).is_file():
        yield TextFault(f"{format_location(Path(value))} is a file: name the folder that it is in", field)
        return
    if Path(value).is_dir() and (reason := explain_unreadable(Path(value))) is not None:
        yield TextFault(f"{format_location(Path(value))} {reason}", field)
        return
    if Path(value).is_dir() and (cloud := find_in_cloud(list_folder(Path(value)))) is not None:
        yield TextFault(f"{format_location(cloud)} {IN_CLOUD}", field)
        return
    if (Path(value) / "config.json").is_file() and not (Path(value) / CONFIG).is_file():
        yield TextFault(
            f"{format_location(Path(value))} is a model, not an adapter: name it as {field.removesuffix('adapter')}model",
            field,
        )
        return
    try:
        read_adapter(Path(value))
    except AdapterError as error:
        yield TextFault(f"{format_location(Path(value))} {clip(str(error), 500)}", field)


def _held_out_faults(data: DataSpec) -> Iterator[TextFault]:
    if not isinstance(data.validation, str):
        return
    yield from _data_faults("data.validation", data.held_out_sources[0])
    training_paths = {source.path for source in data.sources}
    if data.validation in training_paths and data.validation_split is None and Path(data.validation).is_file():
        # A folder may have a split for it.
        yield TextFault(
            "it is data.path itself, whose pairs are trained on; give a fraction, or other pairs", "data.validation"
        )


def _file_faults(field: str, value: str | None, subject: str) -> Iterator[TextFault]:
    """Faults of a file that stands for itself, such as the list of pairs to leave out; `subject`: what it is."""
    if value is None:
        return
    path = Path(value)
    if not path.exists():
        yield TextFault(_explain_absence(path, "no such file"), field)
    elif not path.is_file():
        yield TextFault(f"{format_location(path)} is no file; name {subject} itself", field)
    elif (reason := explain_unreadable(path)) is not None:
        yield TextFault(f"{format_location(path)} {reason}", field)


def _explain_absence(path: Path, words: str) -> str:
    """Say that nothing lies at `path`, in these words, or that it is in the cloud."""
    if find_placeholder(path) is not None:
        return f"{format_location(path)} {IN_CLOUD}"
    return f"{words}: {format_location(path)}"


def _hub_setting_faults(data: DataSpec) -> Iterator[TextFault]:
    """Settings that nothing would read, because no dataset of the spec is on the hub."""
    sources = [*data.sources, *data.held_out_sources]
    for name, remedy in (("config", "give the subset's folder as data.data_dir"), ("revision", "leave it out")):
        users = [source for source in sources if getattr(source, name) is not None]
        if users and not any(source.local is None for source in users):
            key = "data" if getattr(data, name) is not None else users[0].key
            path = format_location(Path(users[0].path))
            yield TextFault(f"it is of datasets on the hub, and {path} is on this machine; {remedy}", f"{key}.{name}")


def _data_faults(field: str, source: Source) -> Iterator[TextFault]:
    path = Path(source.path)
    if not path.is_absolute():
        return
    if source.data_dir is not None and path.exists():
        yield from _data_dir_faults(field, path, source.data_dir)
    elif not path.exists():
        yield TextFault(_explain_absence(path, "no such file or folder"), field)
    elif not (path.is_file() or path.is_dir()):
        yield TextFault(f"{format_location(path)} is neither a file nor a folder", field)
    elif (reason := explain_unreadable(path)) is not None:
        yield TextFault(f"{format_location(path)} {reason}", field)
    elif path.is_dir() and (cloud := find_in_cloud(list_data(source))) is not None:
        yield TextFault(f"{format_location(cloud)} {IN_CLOUD}", field)
    elif path.is_dir() and not list_files(path, "*"):
        yield TextFault(f"{format_location(path)} is an empty folder", field)
    elif path.is_file() and path.stat().st_size == 0:
        yield TextFault(f"{format_location(path)} is empty", field)


def _data_dir_faults(field: str, path: Path, data_dir: str) -> Iterator[TextFault]:
    key = f"{field}.data_dir" if field.endswith("]") else "data.data_dir"
    if path.is_file():
        yield TextFault(f"it is a folder in a dataset, and {format_location(path)} is one file; leave it out", key)
    elif not (path / data_dir).is_dir():
        folders = sorted(each.name for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))
        listing = f"; it has {clip(', '.join(folders), 200)}" if folders else ""
        yield TextFault(f"{format_location(path)} has no folder {clip(data_dir)}{listing}", key)
