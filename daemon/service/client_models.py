"""`open_model` makes a job of a model that a client of `prefd serve` holds."""

from __future__ import annotations

import logging
import time

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import Job, JobTable
from prefd.daemon.machine.files import write_json
from prefd.daemon.runs.run_identity import RunIdentity
from prefd.daemon.runs.snapshot import freeze
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.live_spec import LiveModel

log = logging.getLogger(__name__)

GROUP = "live"
"""The group of every client's models, unless config.toml bounds another."""


def open_model(home: Home, table: JobTable, model: LiveModel) -> Job:
    """Queue the model, with its folder and its session file, or return the job that it is already.

    Nothing is awaited in between, so no worker starts before the file that it reads is there. Raises ForeignFolder,
    HomeUnusable, JobTableError, OSError.
    """
    live = model.make_live_spec()
    spec = JobSpec.model_validate(
        {"name": model.name or model.base_model, "group": GROUP, "model": model.model, "live": live}
    )
    job = table.add(spec, model.source)
    run = freeze(home, job.id, spec, owner=RunIdentity(job.ulid, job.id, table.home_id(), job.name))
    if not run.live.session.exists():
        run.live.create()
        session = live.model_dump(mode="json") | {"model": model.model, "created_at": time.time()}
        write_json(run.live.session, session)
        log.info("job %d queued: %s, held by a client", job.id, model.model_id, extra={"job": job.id})
    return job
