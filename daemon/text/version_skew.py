"""`describe_skew` tells that the daemon which runs is of another version than the prefd that is installed."""

from __future__ import annotations


def describe_skew(daemon_version: str) -> str | None:
    """Return what to do where the daemon is of another version than this prefd; None where it is of the same.

    The workers of its jobs are started from what is installed, and so are of this version already.
    """
    from importlib import metadata  # here: every command's help imports this module

    own = metadata.version("prefd")
    if daemon_version == own:
        return None
    return f"the daemon is {daemon_version}, this prefd {own}: `prefd stop && prefd start --detach`"
