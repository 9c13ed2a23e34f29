"""The table of jobs in SQLite, its events, and the actions that change a job's state."""
