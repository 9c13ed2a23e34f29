from __future__ import annotations

from importlib import metadata

from prefd.daemon.text.version_skew import describe_skew


def test_a_daemon_of_another_version_is_told_with_what_to_do() -> None:
    own = metadata.version("prefd")
    assert describe_skew("0.0.1") == (f"the daemon is 0.0.1, this prefd {own}: `prefd stop && prefd start --detach`")
    assert describe_skew(own) is None
