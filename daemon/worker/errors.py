"""Errors that end a job with a sentence instead of a traceback."""

from __future__ import annotations

from prefd.daemon.errors import PrefdError


class JobError(PrefdError):
    """The job cannot go on. For the job's owner: the message has the value, the place and the remedy."""


class NotFinite(JobError):
    """NotFinite is raised for a loss or gradient that is NaN or infinite; the weights are as they were before the step."""


class Stopped(Exception):
    """The worker was asked to stop, and has saved what it had."""


class Interrupted(Exception):
    """A stop was requested between two passes of what the message names; nothing has changed since it began."""
