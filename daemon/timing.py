"""Timing says how long the daemon, its workers and the commands wait for what, in seconds. Only tests set it: they hand in shorter times."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Timing has the waits of one daemon, worker or command. The maker of a `Service`, or of a part of one, may hand in others."""

    worker_look: float = 0.5
    """Between two looks at a worker's memory and log, or at a lock that an orphan has."""
    memory_look: float = 1.0
    """Between two measurements of a worker's memory."""
    crash_waits: tuple[float, float] = (2.0, 10.0)
    """Before a crashed job is tried the second time, and the third."""
    full_disk_wait: float = 30.0
    """Before a job is tried again for which the disk had no room."""
    first_outage_retry: float = 30.0
    """Before a job tries again to reach the hub; twice as long each time."""
    last_outage_retry: float = 600.0
    """The longest time before that."""
    settings_look: float = 2.0
    """Between two looks at whether config.toml has changed."""
    refused_state_wait: float = 5.0
    """After a disk has refused a change of a job's state."""

    removal_wait: float = 2.0
    """For what was removed to be deleted, before it is answered that it is gone: the rest is deleted afterwards."""
    plugin_start: float = 120.0
    """For MLX, and prefd's own plugins, to be imported from a cold disk by the process that lists the plugins."""
    plugin_import: float = 10.0
    """For any other plugin to be imported there and to register what it brings."""
    plugin_suspicion: float = 1.0
    """After which a plugin that is being imported may hang, so that those behind it are tried too."""
    first_listing_retry: float = 5.0
    """Before the losses are listed again that could not be, though nothing has changed; twice as long each time."""
    last_listing_retry: float = 60.0
    """The longest time before that."""

    failed_loop_pause: float = 1.0
    """After an unexpected failure of a loop, so that one that stays does not fill the log."""
    loop_step: float = 180.0
    """The most between two signs of life of a loop, beside a worker's end: listing the plugins may take 120."""
    stop_margin: float = 30.0
    """What the daemon's own end takes at most, beside its worker's."""
    watchdog_status: float = 5.0
    """Between two lines to systemd on what the daemon does."""
    watchdog_answer: float = 10.0
    """For the control socket to answer the watchdog."""

    home_look: float = 2.0
    """Between two looks at whether the home is still there."""
    folder_poll: float = 1.0
    """Between two looks at `jobs/` where there are no file events."""
    first_events_retry: float = 1.0
    """Before file events are tried again; twice as long each time."""
    last_events_retry: float = 60.0
    """The longest time before file events are tried again."""
    folder_trouble_retry: float = 1.0
    """Before a folder that cannot be used is looked at again."""
    folder_call_look: float = 0.2
    """Between two looks at whether a call on the folder has returned, or the daemon is to stop."""
    slow_folder_call: float = 5.0
    """After which a call on the folder counts as one that hangs."""
    unseen_writer_settle: float = 1.0
    """The settle time where the system cannot tell that a file is still open for writing, as macOS cannot."""
    network_settle: float = 3.0
    """The settle time on a network mount, which may show a file's size and time as they were some seconds ago."""
    late_notice: float = 0.2
    """A change that is noticed up to so late counts from when it was made: a busy machine may report it late."""

    request_arrival: float = 10.0
    """For a request to arrive whole, counted from the connection or from its first byte."""
    answer_read: float = 60.0
    """For a client to go on reading its answer."""
    events_look: float = 0.25
    """Between two looks at whether there are events for the streams."""
    events_heartbeat: float = 15.0
    """Between two comments on a stream that has nothing to tell."""

    first_page_retry: float = 1.0
    """Before a page that has died is served again; twice as long each time."""
    last_page_retry: float = 60.0
    """The longest time before that; a page that was served longer has died for the first time."""
    page_end: float = 5.0
    """For the page's process to end after SIGTERM."""

    report_call: float = 120.0
    """For a call of a reporter to return: a tool may have to reach its server."""
    report_end: float = 60.0
    """For a reporter to write the rest when its job has ended."""
    report_stop: float = 5.0
    """The same when the daemon stops, or the job's folder is to go: what is missing then is reported later."""

    notify_look: float = 0.5
    """Between two looks at whether a job has ended that `notify.command` is to be told of."""
    notify_stop: float = 5.0
    """For a command that runs when the daemon stops; the next daemon runs it again if it has not ended."""
    notify_kill: float = 2.0
    """For a command to end after SIGTERM, and again after SIGKILL."""

    detached_start: float = 60.0
    """For a daemon in the background to answer: on a cold disk, listing the plugins may be slow."""
    detached_end: float = 10.0
    """For a daemon that did not answer to end after SIGTERM."""
    stop_command_margin: float = 15.0
    """What `prefd stop` waits beyond the grace of the workers."""
    daemon_return: float = 10.0
    """For a daemon that is being restarted to be there again: `prefd events`, `watch` and `wait` go on meanwhile."""
    events_retry: float = 0.2
    """Before `prefd events` connects again."""
    job_look: float = 0.5
    """Between two looks of `prefd watch` and `wait` at their job."""
    progress_line: float = 10.0
    """Between two lines of progress of `prefd watch` and `run` where there is no terminal."""
    log_look: float = 0.25
    """Between two looks of `prefd logs -f` at the log."""
    job_number: float = 3.0
    """For `prefd submit` to learn the number of its job."""
    database_look: float = 1.0
    """Between two looks of `prefd run` at whether another process has changed the database."""
    look_idle: float = 300.0
    """After which a look child that is asked nothing ends."""
    look_answer: float = 180.0
    """For a look child to answer a question: a large dataset takes a minute to tokenize."""
    look_interruption: float = 5.0
    """For a look child to leave a question that is not to be answered any more."""
    download: float = 60.0
    """For a worker's files to come that a cloud has taken off this machine: others of the queue could run meanwhile."""
    download_look: float = 0.5
    """Between two looks at whether they have."""
    session_gather: float = 0.02
    """For which no further question of a client has come before those that wait are answered together."""
    session_gather_crowd: float = 0.1
    """The same where the last question had others beside it: its client has asked for many at once."""
    session_gather_most: float = 0.5
    """The most that a question waits for others."""
    session_save: float = 5.0
    """Between two saves of a client's session, while requests come."""
    session_saving_share: float = 0.05
    """The share of a session's time that saving it may take: after a save that took long, the next one waits longer."""
    loss_check: float = 300.0
    """For `prefd check-loss`, which takes a few: a plugin that waits for something takes for ever."""
    device_check: float = 180.0
    """For `prefd doctor` to measure the device."""
    selftest_check: float = 600.0
    """For one check of `prefd selftest` that a worker makes; most take seconds, and a large model of the user's minutes."""
    bucket_check: float = 15.0
    """For `prefd doctor` to have an answer from the shared cache."""
    host_check: float = 300.0
    """For `prefd doctor` to try one machine of `[distributed]`: a large model's checksum takes a minute there, the first time."""
    drop_interval: float = 0.1
    """Between two files that `prefd selftest` drops into a daemon's folder."""
    drop_answer: float = 30.0
    """For the last of them to be answered; the daemon itself looks after 120."""
    stop_check: float = 20.0
    """For a daemon that trains to end; a step of the self-test's small job takes a fraction of a second, so the rest is prefd's own."""
    event_check: float = 5.0
    """For a file event to reach `prefd doctor`."""


USUAL = Timing()
