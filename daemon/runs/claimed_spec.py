"""`read_claimed_spec` tells what a job was claimed with: the text that was handed in, its frozen spec, and what has changed since."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.machine.cloud import is_dataless
from prefd.daemon.machine.files import open_regular
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.snapshot import Stock, describe_changes, read_frozen_spec, read_stock, take_stock
from prefd.daemon.text.parsed import MAX_BYTES


@dataclass(frozen=True)
class ClaimedSpec:
    """ClaimedSpec says what a job was claimed with."""

    job: int
    file: str | None
    """The file that was handed in, in `jobs/accepted/`; null where it is not kept, and for a job of `prefd run`."""
    text: str | None
    """What that file says: of a sweep, all of it."""
    spec: Mapping[str, Any] | None
    """The spec as it was frozen for this job, with every path in full; null before that, and where it cannot be read."""
    versions: Mapping[str, str]
    """What was installed then, of prefd and the model libraries."""
    plugins: Mapping[str, str]
    """Distribution → version, and file → `sha256:…`."""
    data: Mapping[str, Mapping[str, Any]]
    """File → its bytes and sha256; hub dataset → its revision and commit."""
    changes: list[str]
    """What is not any more as it was then, of data, plugins and versions, a line each."""


def read_claimed_spec(home: Home, job_id: int, source: str | None) -> ClaimedSpec:
    """Read what a job was claimed with, and compare it with what is there now; the hub is not asked.

    It may read the job's data, so an event loop does not call it in its own thread. `source`: the name of the claimed file,
    None where there is none.
    """
    run = RunDir(home.job(job_id))
    frozen, stock = run.read_frozen(), read_stock(run) or Stock()
    text = None if source is None else _read_text(home, source)
    return ClaimedSpec(
        job=job_id,
        file=None if text is None else str(home.accepted / str(source)),
        text=text,
        spec=None if frozen is None else frozen["spec"],
        **stock.to_json(),
        changes=_list_changes(home, run, stock) if stock.versions else [],
    )


def _list_changes(home: Home, run: RunDir, stock: Stock) -> list[str]:
    try:
        spec = read_frozen_spec(run)
    except (OSError, ValueError):
        return ["the spec is of another version of prefd, so what it reads is not known"]
    return describe_changes(stock, take_stock(home, spec, stock.commits))


def _read_text(home: Home, source: str) -> str | None:
    """Read a claimed file; None where it is not kept, or is none of a spec's size. A name with a folder is no claimed file's."""
    if PurePath(source).name != source:
        return None
    try:
        with os.fdopen(open_regular(home.accepted / source), "rb") as file:
            if is_dataless(os.fstat(file.fileno())):  # it may take for ever, and the frozen spec is told as well
                return None
            data = file.read(MAX_BYTES + 1)
    except OSError:
        return None
    return data.decode("utf-8", "replace") if len(data) <= MAX_BYTES else None
