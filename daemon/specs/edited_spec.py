"""`read_edited_spec` makes the spec of a waiting job anew, from what is to be changed in it or from a whole new one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.reading import read_spec, read_specs
from prefd.daemon.specs.spec_error import SpecError

FILE = "edited.json"


class EditRequest(BaseModel):
    """EditRequest says what is to be changed of a job that waits."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    settings: dict[str, Any] = {}
    """Keys of the spec with their new values: `{"priority": 5}`; null takes a key out."""
    spec: dict[str, Any] | None = None
    """A whole spec in place of the job's own, before `settings` are put over it."""
    base: dict[str, Any] | None = None
    """The job's spec as it was read; where it is no longer that, nothing is changed."""


def read_edited_spec(current: JobSpec, request: EditRequest, catalog: Catalog | None, folder: Path) -> JobSpec:
    """Make the edited spec and validate it, as a spec that is handed in. Raises SpecError; OSError where the machine fails.

    Where only settings are changed, neither paths nor losses are looked at again.
    """
    if request.spec is None:
        return change_settings(current, request.settings)
    data = _write_changed(current, request.spec, request.settings)
    with _unnamed_file():
        return read_specs(data, FILE, catalog, folder).spec


def change_settings(current: JobSpec, settings: Mapping[str, Any]) -> JobSpec:
    """Return the spec with other values for some of its keys; None takes a key out. Raises SpecError."""
    data = _write_changed(current, current.model_dump(mode="json", exclude_unset=True), settings)
    with _unnamed_file():
        return read_spec(data, FILE)


def read_base(request: EditRequest, current: JobSpec) -> JobSpec:
    """Return the spec that was edited: the one in the request, else `current`. Raises SpecError."""
    return current if request.base is None else read_spec(json.dumps(request.base).encode(), "base.json")


def _write_changed(current: JobSpec, document: Mapping[str, Any], settings: Mapping[str, Any]) -> bytes:
    """Write a spec as JSON with `settings` over it; it is called as `current` where it does not say otherwise."""
    changed = {name: value for name, value in {**document, **settings}.items() if value is not None}
    return json.dumps({"name": current.name, **changed}, ensure_ascii=False).encode()


@contextmanager
def _unnamed_file() -> Iterator[None]:
    """Take the name of the file and the lines in it, which nobody wrote, out of what is wrong with it."""
    try:
        yield
    except SpecError as error:
        raise SpecError(*(replace(fault, position=None) for fault in error.faults)) from None
