"""The cache as its commands print it, with the jobs that each reference served."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from prefd.cache.fingerprint import ReferenceFingerprint
from prefd.cache.store import ReferenceCache
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import Job
from prefd.daemon.machine.files import read_json, write_json
from prefd.daemon.page import command_child
from support import homes
from support.page_api import asking

SMALL = ReferenceFingerprint({"weights": "a" * 64}, {"model": "org/small"})
LARGE = ReferenceFingerprint({"weights": "b" * 64}, {"model": "org/large"})


@pytest.fixture
def filled(ready_home: Home) -> Home:
    cache = ReferenceCache.open(ready_home.cache)
    cache.reference(SMALL).put({bytes([index]) * 32: np.full(index + 1, -0.5, dtype=np.float32) for index in range(3)})
    cache.reference(LARGE)
    for number in range(3):
        note_use(
            ready_home,
            homes.add_done(ready_home, name=f"job-{number}"),
            SMALL.name if number else "gone" * 8,
            number * 100,
        )
    homes.add_queued(ready_home, name="waits")
    return ready_home


def note_use(home: Home, job: Job, fingerprint: str, cached: int) -> None:
    path = home.job(job.id) / "precompute.json"
    document = read_json(path)
    document["summary"] |= {"fingerprint": fingerprint, "cached": cached, "scored": 252 - cached}
    write_json(path, document)


def test_it_is_what_the_commands_print_with_the_jobs_that_it_served(filled: Home) -> None:
    with asking(filled) as http:
        contents = http.get("/v1/cache").json()
        printed = json.loads(homes.invoke(filled, "cache", "ls", "--json").stdout)["references"]
        assert [{key: each[key] for key in each if key != "uses"} for each in contents["references"]] == printed
        small = http.get(f"/v1/cache/{SMALL.name[:8].upper()}").json()
        assert small in contents["references"]
        assert small["uses"] == [
            {"job": 2, "name": "job-1", "state": "done", "needed": 252, "cached": 100, "scored": 152, "seconds": 31.6},
            {"job": 3, "name": "job-2", "state": "done", "needed": 252, "cached": 200, "scored": 52, "seconds": 31.6},
        ]
        assert (contents["needed"], contents["cached"]) == (3 * 252, 300)
        note_use(filled, homes.add_done(filled, name="later"), LARGE.name, 7)
        (use,) = http.get(f"/v1/cache/{LARGE.name}").json()["uses"]
        assert (use["name"], use["cached"]) == ("later", 7)
        assert http.get("/v1/cache/zz").json()["error"] == "no reference's fingerprint begins with 'zz'"


def test_what_cannot_be_read_is_told_and_what_has_not_changed_is_not_read_again(
    filled: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asking(filled) as http:
        before = http.get("/v1/cache").json()
        program = "import sys; sys.exit('error: this is no cache\\nname another')"
        monkeypatch.setattr(command_child, "PYTHON", (sys.executable, "-c", program))
        assert http.get("/v1/cache").json() == before
        ReferenceCache.open(filled.cache).reference(SMALL).put({b"9" * 32: np.full(3, -0.5, dtype=np.float32)})
        answer = http.get("/v1/cache")
        assert (answer.status_code, answer.json()["lines"]) == (500, ["this is no cache", "name another"])


def test_looking_makes_no_cache(ready_home: Home) -> None:
    with asking(ready_home) as http:
        assert http.get("/v1/cache").json() == {
            "cache": str(ready_home.cache),
            "references": [],
            "needed": 0,
            "cached": 0,
        }
    assert not ready_home.has_cache
