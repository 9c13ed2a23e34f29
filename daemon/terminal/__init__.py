"""Everything that draws on a terminal: tables, curves, a job's page, the daemon's status."""
