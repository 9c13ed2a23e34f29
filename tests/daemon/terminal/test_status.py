import time

from prefd.daemon.inbox.health import WatchHealth
from prefd.daemon.terminal.status import watch_facts


def test_a_healthy_watcher_takes_one_line() -> None:
    at = time.mktime((2026, 11, 22, 7, 30, 5, 0, 0, -1))
    health = WatchHealth("events", last_event=at, last_rescan=at + 1)
    ((name, text),) = watch_facts(health)
    assert name == "watching"
    assert text.startswith("events, last event ")
    assert ", last rescan " in text


def test_what_is_wrong_and_what_is_left_alone_is_told_with_its_reason() -> None:
    left = {f"'{number}.yaml'": "is a folder" for number in range(7)}
    health = WatchHealth("polling", "nfs4 from a:/b tells of no changes made elsewhere", None, None, "E", "F", left)
    assert watch_facts(health) == [
        ("watching", "polling (nfs4 from a:/b tells of no changes made elsewhere)"),
        ("", "E"),
        ("", "F"),
        ("left alone", "'0.yaml' is a folder"),
        *(("", f"'{number}.yaml' is a folder") for number in (1, 2, 3)),
        ("", "'4.yaml' is a folder (and 2 more)"),
    ]
