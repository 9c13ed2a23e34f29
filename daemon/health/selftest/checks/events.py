"""Drops 20 files into the watched folder of a daemon that hardly looks by itself, and measures when each was answered."""

from __future__ import annotations

import time
from statistics import median

from prefd.daemon.health.selftest.playground import LOOK_SECONDS, SETTLE_SECONDS, Playground
from prefd.daemon.home.layout import Home
from prefd.daemon.worker_tasks.check_results import CheckResult

DROPS = 20


def check(playground: Playground, _: Home, drops: int = DROPS) -> CheckResult:
    """Drop the files, which are no specs, and wait for the refusal of each."""
    playground.start()
    seconds = measure_answers(playground, drops)
    numbers = {"dropped": drops, "answered": len(seconds), "settle_s": SETTLE_SECONDS}
    if seconds:
        numbers |= {"median_s": round(median(seconds), 2), "max_s": round(max(seconds), 2)}
    if len(seconds) < drops:
        return CheckResult(
            outcome="failed",
            finding=f"{drops - len(seconds)} of {drops} files dropped into {playground.home.jobs} were not noticed by an event",
            numbers=numbers,
            remedy="set polling = true under [watch] in config.toml; `prefd doctor` tries the folder of your home",
        )
    finding = (
        f"{drops} of {drops} dropped files were noticed by events, and answered after {numbers['median_s']:g} s "
        f"(at most {numbers['max_s']:g}; they settle for {SETTLE_SECONDS:g})"
    )
    return CheckResult(outcome="ok", finding=finding, numbers=numbers)


def measure_answers(playground: Playground, drops: int) -> list[float]:
    """Measure the seconds from each drop to its answer; those that come to none are left out."""
    pending: dict[str, float] = {}
    seconds: list[float] = []
    dropped, next_drop = 0, time.monotonic()
    interval = playground.timing.drop_interval
    deadline = next_drop + drops * interval + playground.timing.drop_answer
    while (dropped < drops or pending) and time.monotonic() < deadline:
        if dropped < drops and time.monotonic() >= next_drop:
            name = f"drop-{dropped}.yaml"
            playground.drop(name, "no spec")
            pending[name] = time.monotonic()
            dropped, next_drop = dropped + 1, next_drop + interval
        for name in [name for name in pending if playground.home.refusal(name).exists()]:
            seconds.append(time.monotonic() - pending.pop(name))
        time.sleep(LOOK_SECONDS)
    return seconds
