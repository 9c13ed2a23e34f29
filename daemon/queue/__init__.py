"""The running of queued jobs: whose turn it is, and one worker process at a time, watched until it ends."""
