"""The typed JSON that passes in and out of a worker that answers one task at once, without a job."""
