"""Snapshots are weights that a client saved without a name, to sample from: a client that samples as it trains leaves one a step.

The MAX_SNAPSHOTS last used of each model are kept. A snapshot's folder has as its time when it was last used.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from prefd.daemon.live.models import ClientModel, Models
from prefd.daemon.live.sessions import MAX_SNAPSHOTS, OpenSampler
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.runs.live_folder import SNAPSHOT


def note_use(sampler: OpenSampler) -> None:
    """Note that a sampler is used now, where it samples from a snapshot."""
    if sampler.folder is not None and Path(sampler.folder).name.startswith(SNAPSHOT):
        with suppress(FileNotFoundError):  # it is still to be saved
            os.utime(sampler.folder)


async def drop_old_snapshots(models: Models, model: ClientModel) -> None:
    """Delete the snapshots of a model that were not used for longest, with their samplers. Raises RefusedCall, OSError."""
    folders = await run_in_thread(list_by_use, model.folder.sampler_weights)
    session = models.sessions.find_held(model.id)
    if session is None or len(folders) <= MAX_SNAPSHOTS:
        return
    dropped = []
    for folder in folders[:-MAX_SNAPSHOTS]:
        samplers = [name for name, each in session.samplers.items() if each.folder == str(folder)]
        if any(model.journal.is_awaited(name) for name in samplers):
            continue
        for name in samplers:
            del session.samplers[name]
        dropped.append(folder)
    models.sessions.keep(session)
    for folder in dropped:
        await run_in_thread(shutil.rmtree, folder)


def list_by_use(parent: Path) -> list[Path]:
    """List the snapshots in a folder, the one that was not used for longest first."""
    return sorted(parent.glob(f"{SNAPSHOT}*"), key=lambda path: path.stat().st_mtime)
