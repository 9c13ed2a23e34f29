"""`migrate` brings the job database's schema from any earlier version to this one, within one transaction."""

from __future__ import annotations

import sqlite3

from prefd.daemon.jobs.job_ulids import choose_job_ulid

MIGRATIONS = (
    """
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL,
    source TEXT NOT NULL,
    owner TEXT NOT NULL,
    spec TEXT NOT NULL,
    created_at REAL NOT NULL,
    started_at REAL,
    finished_at REAL,
    phase_seconds TEXT NOT NULL DEFAULT '{}',
    worker_pid INTEGER,
    worker_started REAL,
    cancel_requested INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX jobs_state ON jobs (state);
-- A claimed file is one job, whatever happens between the claim and the row.
CREATE UNIQUE INDEX jobs_claim ON jobs (source) WHERE owner = 'daemon';
CREATE TABLE history (
    job_id INTEGER NOT NULL REFERENCES jobs (id),
    at REAL NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX history_job ON history (job_id);
""",
    """
ALTER TABLE jobs ADD COLUMN job_group TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN description TEXT NOT NULL DEFAULT '';
-- A claimed file is one job, or those of its sweep by number, whatever happens between the claim and the rows.
ALTER TABLE jobs ADD COLUMN part INTEGER NOT NULL DEFAULT 0;
DROP INDEX jobs_claim;
CREATE UNIQUE INDEX jobs_claim ON jobs (source, part) WHERE owner = 'daemon';
CREATE INDEX jobs_group ON jobs (job_group);
""",
    """
ALTER TABLE jobs ADD COLUMN pause_requested INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN fresh INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN not_before REAL;
ALTER TABLE jobs ADD COLUMN after TEXT NOT NULL DEFAULT '[]';
ALTER TABLE jobs ADD COLUMN waiting TEXT NOT NULL DEFAULT '';
-- One row: when the whole queue was paused, NULL while it is not.
CREATE TABLE queue (id INTEGER PRIMARY KEY CHECK (id = 1), paused_at REAL);
INSERT INTO queue VALUES (1, NULL);
""",
    """
-- Start times of worker and owner are counted from this boot; '' where they are Unix time.
ALTER TABLE jobs ADD COLUMN boot TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN owner_started REAL;
-- How often its worker has crashed without getting any further, and how far that was.
ALTER TABLE jobs ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN crash_mark TEXT NOT NULL DEFAULT '';
""",
    """
-- A job's identity beside its number, which another home may give out too.
ALTER TABLE jobs ADD COLUMN ulid TEXT NOT NULL DEFAULT '';
-- The id of the home that a job's folder was copied in from; '' for a job of this home.
ALTER TABLE jobs ADD COLUMN origin TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX jobs_ulid ON jobs (ulid) WHERE ulid <> '';
-- One row: the id of the home that the database belongs to, '' until a daemon has served it.
CREATE TABLE home (id INTEGER PRIMARY KEY CHECK (id = 1), ulid TEXT NOT NULL);
INSERT INTO home VALUES (1, '');
""",
    """
-- Jobs that were removed. While `pending` is 1, files of theirs are still to be deleted.
CREATE TABLE removed (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    source TEXT NOT NULL,
    at REAL NOT NULL,
    pending INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX removed_pending ON removed (id) WHERE pending;
CREATE INDEX jobs_source ON jobs (source);
-- What a job's folder takes on disk, in bytes, as it was last measured.
CREATE TABLE sizes (
    job_id INTEGER PRIMARY KEY,
    bytes INTEGER NOT NULL,
    checkpoints INTEGER NOT NULL,
    fused INTEGER NOT NULL,
    at REAL NOT NULL
);
-- A removed job's lines go with it: their numbers, which are in clients' cursors, are never given out again.
CREATE TABLE numbered_history (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id INTEGER NOT NULL,
    at REAL NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL
);
INSERT INTO numbered_history SELECT rowid, job_id, at, state, reason FROM history ORDER BY rowid;
DROP TABLE history;
ALTER TABLE numbered_history RENAME TO history;
CREATE INDEX history_job ON history (job_id);
""",
)
"""The SQL that makes each version of the schema out of the one before. Entries are never changed, only added."""
VERSION = len(MIGRATIONS)


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Bring the schema from `version` to VERSION, within the transaction that is open."""
    for migration in MIGRATIONS[version:]:
        for statement in migration.split(";\n"):
            db.execute(statement)
    if version < VERSION:
        _give_ulids(db)
        db.execute(f"PRAGMA user_version = {VERSION}")


def _give_ulids(db: sqlite3.Connection) -> None:
    """Give each job of an earlier version the ULID that this version would have given it."""
    for job_id, source, part in db.execute("SELECT id, source, part FROM jobs WHERE ulid = ''").fetchall():
        db.execute("UPDATE jobs SET ulid = ? WHERE id = ?", (choose_job_ulid(db, source, part), job_id))
