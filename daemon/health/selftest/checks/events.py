"""Drops 20 files into the watched folder of a daemon that hardly looks by itself, and measures when each was answered."""

from __future__ import annotations

import time
from statistics import median

from prefd.daemon.health.selftest.playground import LOOK_SECONDS, SETTLE_SECONDS, Playground
from prefd.daemon.home.layout import Home
from prefd.daemon.worker_tasks.check_results import CheckResult

DROPS = 20
INTERVAL_SECONDS = 0.1
PATIENCE = 30.0
"""Seconds for the last drop to be answered; the daemon itself looks after 120."""


def check(playground: Playground, _: Home) -> CheckResult:
    """Drop the files, which are no specs, and wait for the refusal of each."""
    playground.start()
    seconds = measure_answers(playground)
    numbers = {"dropped": DROPS, "answered": len(seconds), "settle_s": SETTLE_SECONDS}
    if seconds:
        numbers |= {"median_s": round(median(seconds), 2), "max_s": round(max(seconds), 2)}
    if len(seconds) < DROPS:
        return CheckResult(
            outcome="failed",
            finding=f"{DROPS - len(seconds)} of {DROPS} files dropped into {playground.home.jobs} were not noticed by an event",
            numbers=numbers,
            remedy="set polling = true under [watch] in config.toml; `prefd doctor` tries the folder of your home",
        )
    finding = (
        f"{DROPS} of {DROPS} dropped files were noticed by events, and answered after {numbers['median_s']:g} s "
        f"(at most {numbers['max_s']:g}; they settle for {SETTLE_SECONDS:g})"
    )
    return CheckResult(outcome="ok", finding=finding, numbers=numbers)


def measure_answers(playground: Playground) -> list[float]:
    """Measure the seconds from each drop to its answer; those that come to none are left out."""
    pending: dict[str, float] = {}
    seconds: list[float] = []
    dropped, next_drop = 0, time.monotonic()
    deadline = next_drop + DROPS * INTERVAL_SECONDS + PATIENCE
    while (dropped < DROPS or pending) and time.monotonic() < deadline:
        if dropped < DROPS and time.monotonic() >= next_drop:
            name = f"drop-{dropped}.yaml"
            playground.drop(name, "no spec")
            pending[name] = time.monotonic()
            dropped, next_drop = dropped + 1, next_drop + INTERVAL_SECONDS
        for name in [name for name in pending if playground.home.refusal(name).exists()]:
            seconds.append(time.monotonic() - pending.pop(name))
        time.sleep(LOOK_SECONDS)
    return seconds
