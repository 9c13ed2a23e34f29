"""`list_local_files` names every file on this machine that a job of a spec reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prefd.daemon.machine.cloud import list_named
from prefd.daemon.specs.data_files import walk
from prefd.daemon.specs.data_sources import Source
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.model_files import list_files


def list_local_files(spec: JobSpec) -> Iterator[Path]:
    """Yield the files of a resolved spec's models, adapters and pairs, whether they are there or only in the cloud. Raises OSError."""
    reference = spec.named_reference
    for name in (spec.model, spec.adapter, *((reference.model, reference.adapter) if reference else ())):
        if name is not None and (folder := Path(name)).is_absolute():
            yield from list_folder(folder)
    for source in (*spec.data.sources, *spec.data.held_out_sources):
        if Path(source.path).is_absolute():
            yield from list_data(source)
    yield from map(Path, filter(None, (spec.data.exclude, spec.prompts_file)))


def list_folder(folder: Path) -> Iterator[Path]:
    """Yield what a model's or an adapter's folder has, in the cloud or here."""
    yield from list_files(folder, "*")
    yield from list_named(folder)


def list_data(source: Source) -> Iterator[Path]:
    """Yield the data files of one source, in the cloud or here. Raises OSError."""
    path = Path(source.path, source.data_dir or "")
    if path.is_dir():
        yield from walk(path)
        yield from list_named(path)
    else:
        yield path
