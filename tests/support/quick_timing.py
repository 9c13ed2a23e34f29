"""The waits of a daemon, and of commands, whose test has little patience."""

from __future__ import annotations

from prefd.daemon.timing import Timing

QUICK_TIMING = Timing(
    home_look=0.05,
    worker_look=0.02,
    crash_waits=(0.02, 0.05),
    full_disk_wait=0.05,
    refused_state_wait=0.05,
    first_outage_retry=0.05,
    last_outage_retry=0.2,
    first_listing_retry=0.05,
    last_listing_retry=0.2,
    settings_look=0.05,
    failed_loop_pause=0.05,
    first_events_retry=0.05,
    unseen_writer_settle=0.05,
    events_look=0.02,
    notify_look=0.02,
    first_page_retry=0.05,
    events_retry=0.02,
    job_look=0.02,
    progress_line=0.0,
    log_look=0.02,
    database_look=0.05,
)
