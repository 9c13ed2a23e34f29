"""`recover_record` reads a job back from its folder, for a database that does not know it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection
from typing import Any

from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.recovery_records import End, Record, Records, is_unused
from prefd.daemon.jobs.states import ENDED, PHASE_OF, State
from prefd.daemon.runs.phase_outcomes import Outcome
from prefd.daemon.runs.phases import PHASES, Phase
from prefd.daemon.runs.run_folder import SPEC, RunDir
from prefd.daemon.runs.run_identity import read_frozen_identity

log = logging.getLogger(__name__)

UNKNOWN = "; its folder does not say how it ended: `prefd resume` lets it go on, `prefd cancel` does not"


def recover_record(
    home: Home, records: Records, job_id: int, reason: str, own: Collection[str], end: End | None = None
) -> Record | None:
    """Return a job's record from its folder, with a line of history for `reason`; None where the folder has no spec.

    `own`: the ids of this home. `end`: how the job ended, where its own record may not say so yet. A job of another home counts as ended, whatever it was there.
    """
    run = RunDir(home.job(job_id))
    record = records.read(job_id)
    if record is None:
        record = _record_from_results(run, job_id)
        reason += UNKNOWN if record is not None and record.row["state"] == "paused" else ""
    if record is None and run.root.is_dir() and is_unused(run.root):
        return None
    if record is None:
        message = "job %d: %s holds no spec that can be read; its number stays taken"
        log.warning(message, job_id, run.root, extra={"job": job_id})
        return None
    record = _add_known_end(record, end)
    if record.home and record.home not in own:
        return make_foreign(_add_end(record, run))
    return _add_reason(_add_end(record, run), reason)


def _add_known_end(record: Record, end: End | None) -> Record:
    """End a job that was cancelled with many others, where its own record does not say so yet."""
    if end is None or record.row["state"] in ENDED or record.history[-1][1] > end[2]:
        return record
    state, reason, timestamp = end
    row = record.row | {"state": state, "reason": reason, "finished_at": timestamp, "worker_pid": None, "waiting": ""}
    return record._replace(row=row, history=[*record.history, (None, timestamp, state, reason)])


def _add_reason(record: Record, reason: str) -> Record:
    """Give a job that has not ended `reason`, and a line of history for it. A job that has ended stays as it is."""
    if record.row["state"] in ENDED:
        return record
    row = record.row | {"reason": reason}
    return record._replace(row=row, history=[*record.history, (None, time.time(), row["state"], reason)])


def _add_end(record: Record, run: RunDir) -> Record:
    """End a job whose record says that it runs, where its last outcome says how it ended."""
    phase = PHASE_OF.get(record.row["state"])
    outcome = run.outcome(phase) if phase else None
    if outcome is None or (outcome.ok and phase != _last_phase(json.loads(record.row["spec"]))):
        return record
    state, reason = _decide_end(outcome)
    row = record.row | {"state": state, "reason": reason, "finished_at": time.time(), "worker_pid": None}
    return record._replace(row=row, history=[*record.history, (None, row["finished_at"], state, reason)])


def _decide_end(outcome: Outcome) -> tuple[State, str]:
    return "done" if outcome.ok else "failed", outcome.describe()


def _last_phase(spec: dict[str, Any]) -> Phase:
    if spec.get("live"):
        return "live"
    return "training" if spec.get("training") else "precompute"


def _record_from_results(run: RunDir, job_id: int) -> Record | None:
    """Make up the record of a job from its spec and its outcomes. None where there is no spec."""
    frozen = run.read_frozen()
    if frozen is None:
        return None
    spec = frozen["spec"]
    outcomes: list[Outcome | None] = [run.outcome(phase) for phase in PHASES]
    last = run.outcome(_last_phase(spec))
    ends = [_decide_end(each) for each in outcomes if each is not None and (not each.ok or each == last)]
    state, reason = ends[-1] if ends else ("paused", "")
    started_at = run.spec.stat().st_mtime
    row = {
        "id": job_id,
        "name": spec.get("name", ""),
        "state": state,
        "reason": reason,
        "source": f"runs/{job_id}/{SPEC}",
        "owner": "daemon",
        "spec": json.dumps(spec),
        "created_at": started_at,
        "job_group": spec.get("group", ""),
        "priority": spec.get("priority", 0),
        "after": json.dumps(spec.get("after", [])),
    }
    identity = read_frozen_identity(run.root)
    if identity is not None:
        row["ulid"] = identity.job
    return Record(row, [(None, started_at, state, reason)], identity.home if identity is not None else "")


def make_foreign(record: Record) -> Record:
    """Make the record of a job that another home had one of a job that has ended here, and that is not this home's."""
    row = record.row
    origin = f"copied in from another home ({record.home})"
    ended = row["state"] in ENDED
    state: State = row["state"] if ended else "cancelled"
    reason = (
        row["reason"] if ended else f"{origin}, where it was {row['state']}; `prefd retry {row['id']}` runs it here"
    )
    now = max([time.time(), *(line[1] for line in record.history)])
    changes = {
        "state": state,
        "reason": reason,
        "finished_at": row.get("finished_at") or now,
        "origin": record.home,
        "source": f"runs/{row['id']}/{SPEC}",
        "owner": "daemon",
        "part": 0,
        "after": "[]",
        "worker_pid": None,
        "cancel_requested": 0,
        "pause_requested": 0,
        "fresh": 0,
    }
    line = (None, now, state, origin if ended else reason)
    return record._replace(row=row | changes, history=[*((None, *each[1:]) for each in record.history), line])
