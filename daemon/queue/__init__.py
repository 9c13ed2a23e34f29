"""The running of queued jobs: whose turn it is, and one worker process a job, watched until it ends."""
