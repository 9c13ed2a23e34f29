"""A daemon and its stand-in workers killed at random while files arrive 20 times as many as kills."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from prefd.daemon.home.layout import Home
from support import fake_worker
from support.dropping_specs import ONE_BY_ONE, Drop
from support.fault_outcomes import AIM_SECONDS, DURING_A_BURST
from support.random_operations import Besieged, Found
from support.running_daemon import SERVE

FILES_PER_KILL = 20


def burst(folder: Path, count: int, seed: int) -> Found:
    """`count` kills; half of the files come at once at the start, half in the middle, and some in every other way."""
    rng = random.Random(seed)
    home = Home(folder / "home")
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", SERVE, str(home.root), json.dumps(fake_worker.make_worker(folder))]
    spec = json.loads(fake_worker.spec_text(folder))
    besieged = Besieged(home, command, iter(()))
    besieged.begin()
    half = FILES_PER_KILL * count // 2
    try:
        besieged.drop(
            *(stand_in(spec, 100_000 + index, way) for index, way in enumerate(ONE_BY_ONE * (1 + count // 25)))
        )
        for kills, numbers in ((count // 2, range(half)), (count, range(half, 2 * half))):
            besieged.drop(*(stand_in(spec, number, "burst") for number in numbers))
            while sum(besieged.seen.values()) < kills:
                besieged.tend_until(rng.choice(DURING_A_BURST)(besieged, rng), AIM_SECONDS)
                if besieged.strike(rng):
                    besieged.say(count)
        besieged.finish()
    finally:
        besieged.close()
    counts = {"kills": count, "specs": len(besieged.dropped)} | besieged.counts
    return {"counts": counts, "seen": dict(besieged.seen)}


def stand_in(spec: dict[str, Any], number: int, way: str) -> Drop:
    """A job of the stand-in worker, one phase or two; each fiftieth file is no spec."""
    document = spec | {"name": f"ok {number}", "training": {"iters": 2, "seed": number}}
    if number % 2:
        document["loss"] = {"name": "cpo"}
    good = number % 50 != 49
    if not good:
        document["training"]["sed"] = 1
    suffix = "json" if way == "prefd submit" else "yaml"
    return Drop(f"{number:06}.{suffix}", document, way, good)
