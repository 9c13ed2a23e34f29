import time

from prefd.daemon.control.status import Power
from prefd.daemon.inbox.health import WatchHealth
from prefd.daemon.terminal.status import power_facts, watch_facts


def test_a_healthy_watcher_takes_one_line() -> None:
    moment = time.mktime((2026, 11, 22, 7, 30, 5, 0, 0, -1))
    health = WatchHealth("events", last_event=moment, last_rescan=moment + 1)
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


def test_sleep_heat_battery_and_memory_are_told_where_there_is_something_to_tell() -> None:
    power = Power(
        kept_awake="kept awake by caffeinate while a job runs",
        battery_percent=63.0,
        plugged=False,
        slept_s=11_400.0,
        thermal_pressure="heavy",
        memory_pressure="critical",
    )
    ((name, facts),) = power_facts(power)
    assert name == "machine"
    assert facts == (
        "kept awake by caffeinate while a job runs; battery at 63 %, not plugged in; slept 3h10m since it was started; "
        "slowed by heat (thermal pressure heavy); short of memory (macOS calls its pressure critical)"
    )
    assert power_facts(Power(slept_s=0.0, thermal_pressure="", memory_pressure="")) == []
