"""`make_job_ulid` gives a job the identity that travels with it, beside its number, which two homes may both give out.

Number N of one home and number N of another are two jobs; a ULID is never given twice. The ULID of a job that came as a file
is made from that of the claim, so that a claim whose transaction broke off makes the same job when it is tried again.
"""

from __future__ import annotations

import re
import sqlite3

CLAIM = re.compile(r"([0-9A-HJKMNP-TV-Z]{26})-.+", re.DOTALL)
"""A claimed file's name in `jobs/accepted/`: a ULID, and the name as it was dropped."""


def make_job_ulid(source: str, part: int = 0) -> str:
    """Return the ULID of the job that is number `part` of a claimed file; a new one for what was not claimed."""
    from ulid import ULID  # here: it takes as long to import as a list of jobs to read

    if (match := CLAIM.fullmatch(source)) is None:
        return str(ULID())
    try:
        return str(ULID.from_int(int(ULID.from_str(match[1])) + part))
    except (ValueError, OverflowError):  # 26 digits and letters that are no ULID
        return str(ULID())


def choose_job_ulid(db: sqlite3.Connection, source: str, part: int = 0) -> str:
    """Return the ULID of a job that is to be inserted: a new one where a file that was put there by hand bears a used one."""
    ulid = make_job_ulid(source, part)
    is_used = db.execute("SELECT 1 FROM jobs WHERE ulid = ?", (ulid,)).fetchone() is not None
    return make_job_ulid("") if is_used else ulid
