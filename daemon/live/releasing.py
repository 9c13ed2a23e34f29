"""Ends sessions: those that their clients end, and those whose clients are not heard of any more."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from prefd.daemon.errors import PrefdError
from prefd.daemon.live.checkpoints import delete_ended
from prefd.daemon.live.models import Models
from prefd.daemon.live.refusal import RefusedCall
from prefd.daemon.live.sessions import SILENT_SECONDS, Session
from prefd.daemon.live.snapshots import drop_old_snapshots
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
    await release_session(models, session)


async def release_session(models: Models, session: Session) -> None:
    """Have the workers of a session that has ended know of it. Raises OSError; it can be done again."""
    models.sessions.keep(session)
    for model_id, job_id in session.models.items():
        await release_model(models, job_id, session.ended)
        models.close(model_id)
    session.released = True


async def release_model(models: Models, job_id: int, reason: str) -> None:
    """Have the worker of a model end once it has done what is pending. Raises OSError."""
    folder = RunDir(models.home.job(job_id)).live
    if not folder.session.exists():  # removed
        return
    if not folder.closed.exists():
        write_json(folder.closed, {"reason": reason, "at": time.time()})
    with suppress(RefusedCall):
        standing = await models.jobs.look(job_id)
        if not standing.ended and (not standing.began or standing.state == "paused"):  # it has no worker that would end
            await models.jobs.cancel(job_id)
            standing = await models.jobs.look(job_id)
        if standing.ended:  # else its worker does so, once it has done what is pending
            await run_in_thread(folder.forget_session)


async def keep_house(models: Models, release_seconds: float, look_seconds: float) -> None:
    """Release what clients have left, and delete what nobody needs any more, until cancelled."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(look_seconds)
        try:
            forgive_stall(models, time.monotonic() - began - look_seconds)
            await note_silence(models)
            await release_silent(models, release_seconds)
            await run_in_thread(models.forget_removed, RESULT_GRACE)
            for model in models.list_open():
                await model.journal.forget_fetched(RESULT_GRACE)
                await drop_old_snapshots(models, model)
            for model_id, job_id in list(models.sessions.list_models()):
                folder = RunDir(models.home.job(job_id)).live
                for path in await run_in_thread(delete_ended, folder, model_id, time.time()):
                    log.info("deleted %s, whose time was over", path)
        except (OSError, PrefdError) as error:  # a full disk, say: the next look may find it well
            log.warning("sessions are not looked after: %s", error)
        except Exception:  # whatever it is, what clients leave is released as before
            log.exception("sessions are not looked after")


def forgive_stall(models: Models, late_seconds: float) -> None:
    """Give the clients the time in which this process stood still: nobody read what they sent."""
    if late_seconds > 1:
        for session in models.sessions.open:
            session.heard_at += late_seconds


async def note_silence(models: Models) -> None:
    """Write into the folders of each client's models since when it is silent, and delete that once it is heard of. Raises OSError."""
    now = time.monotonic()
    for session in models.sessions.open:
        silence = now - session.heard_at
        if (silence > SILENT_SECONDS) == session.noted_silent:
            continue
        for job_id in session.models.values():
            folder = RunDir(models.home.job(job_id)).live
            if not session.noted_silent and folder.root.is_dir():
                write_json(folder.silence, {"since": time.time() - silence})
            else:
                folder.silence.unlink(missing_ok=True)
        session.noted_silent = not session.noted_silent


async def release_silent(models: Models, release_seconds: float) -> None:
    """End the sessions whose clients have not been heard of for so many seconds. Raises OSError.

    Those that ended when a disk was full, or when the process was killed, have their workers told now.
    """
    for session in list(models.sessions.by_id.values()):
        if session.ended and not session.released:
            await release_session(models, session)
    now = time.monotonic()
    for session in models.sessions.open:
        if now - session.heard_at > release_seconds:
            await end_session(models, session, f"its client was not heard of for {release_seconds:g} s")
