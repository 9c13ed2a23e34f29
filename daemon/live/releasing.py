"""Ends sessions: those that their clients end, and those whose clients are not heard of any more."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from prefd.daemon.live.checkpoints import delete_ended
from prefd.daemon.live.models import Models
from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.live.sessions import Session
from prefd.daemon.machine.files import write_json
from prefd.daemon.machine.threads import run_in_thread
from prefd.daemon.runs.run_folder import RunDir

log = logging.getLogger(__name__)

RESULT_GRACE = 600.0
"""A result stays for so many seconds after it was fetched, in case its answer was lost."""


async def end_session(models: Models, session: Session, reason: str) -> None:
    """End a session: its workers do what is pending, and end; what never had its turn is called off. Raises OSError."""
    log.info("session %s has ended: %s", session.id, reason)
    session.ended = reason
    models.sessions.keep(session)
    for model_id, job_id in session.models.items():
        await release_model(models, job_id, reason)
        models.close(model_id)


async def release_model(models: Models, job_id: int, reason: str) -> None:
    """Have the worker of a model end once it has done what is pending. Raises OSError."""
    folder = RunDir(models.home.job(job_id)).live
    if not folder.session.exists():  # removed
        return
    if not folder.closed.exists():
        write_json(folder.closed, {"reason": reason, "at": time.time()})
    with suppress(RefusedCall):
        standing = await models.jobs.look(job_id)
        if not standing.ended and not standing.began:
            await models.jobs.cancel(job_id)


async def keep_house(models: Models, release_seconds: float, look_seconds: float) -> None:
    """Release what clients have left, and delete what nobody needs any more, until cancelled."""
    while True:
        await asyncio.sleep(look_seconds)
        try:
            await release_silent(models, release_seconds)
            for model in models.list_open():
                await run_in_thread(model.journal.forget_fetched, RESULT_GRACE)
            for model_id, job_id in list(models.sessions.list_models()):
                folder = RunDir(models.home.job(job_id)).live
                for path in await run_in_thread(delete_ended, folder, model_id, time.time()):
                    log.info("deleted %s, whose time was over", path)
        except OSError as error:  # a full disk, say: the next look may find it well
            log.warning("sessions are not looked after: %s", error)


async def release_silent(models: Models, release_seconds: float) -> None:
    """End the sessions whose clients have not been heard of for so many seconds. Raises OSError."""
    now = time.monotonic()
    for session in models.sessions.open:
        if now - session.heard_at > release_seconds:
            await end_session(models, session, f"its client was not heard of for {release_seconds:g} s")
