"""Findings of the doctor, kept results of the self-test, and the settings as config.toml has them."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from prefd.daemon.control.api.app import make_app_of
from prefd.daemon.health.finding import HealthFinding
from prefd.daemon.health.selftest.kept_results import keep_results
from prefd.daemon.home.layout import Home
from prefd.daemon.page import command_child
from prefd.daemon.page.api import machine
from prefd.daemon.worker_tasks.check_results import CheckResult
from support.page_api import asking


class Doctor:
    """A doctor that counts its rounds, and waits in each."""

    def __init__(self) -> None:
        self.rounds = 0
        self.release = threading.Event()

    def __call__(self, home: Home) -> Iterator[HealthFinding]:
        self.rounds += 1
        assert self.release.wait(60)
        yield HealthFinding("warn", "disk", f"round {self.rounds}", "make room")


def test_the_doctor_is_asked_once_by_all_who_ask_together(ready_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    doctor = Doctor()
    app = make_app_of(list(machine.list_endpoints(ready_home, doctor)))

    async def ask_all() -> list[dict[str, Any]]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://prefd") as http:
            requests = [asyncio.ensure_future(http.get(f"/v1/doctor{query}")) for query in ("", "", "?anew=true")]
            await asyncio.sleep(0.05)
            doctor.release.set()
            return [(await each).json() for each in requests]

    answers = asyncio.run(ask_all())
    assert {answer["findings"][0]["detail"] for answer in answers} <= {"round 1", "round 2"}
    assert doctor.rounds <= 2
    assert answers[0]["findings"] == [{"level": "warn", "subject": "disk", "detail": "round 1", "remedy": "make room"}]
    with TestClient(make_app_of(list(machine.list_endpoints(ready_home, doctor))), base_url="http://prefd") as http:
        first = http.get("/v1/doctor").json()
        assert http.get("/v1/doctor").json() == first
        assert http.get("/v1/doctor?anew=true").json()["findings"] != first["findings"]
    rounds = doctor.rounds
    endpoints = machine.list_endpoints(ready_home, doctor, kept_seconds=0.0)
    with TestClient(make_app_of(list(endpoints)), base_url="http://prefd") as http:
        http.get("/v1/doctor")
        http.get("/v1/doctor")
    assert doctor.rounds == rounds + 2


def test_the_doctor_is_a_command_in_a_child_also_where_it_finds_a_fault(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = {"level": "fail", "subject": "disk", "detail": "full", "remedy": "make room"}
    program = f"import json, sys; print(json.dumps({{'findings': [{finding}]}})); sys.exit('doctor' not in sys.argv)"
    monkeypatch.setattr(command_child, "PYTHON", (sys.executable, "-c", program))
    with asking(ready_home) as http:
        assert http.get("/v1/doctor").json()["findings"] == [finding]
        monkeypatch.setattr(command_child, "PYTHON", (sys.executable, "-c", "import sys; sys.exit(3)"))
        answer = http.get("/v1/doctor?anew=true")
    assert (answer.status_code, answer.json()["error"]) == (500, "`prefd doctor` said nothing, and ended with 3")


def test_of_each_check_the_last_result_is_kept(ready_home: Home) -> None:
    with asking(ready_home) as http:
        assert http.get("/v1/selftest").json() == {"checks": []}
        keep_results(ready_home, [CheckResult(name=name, outcome="failed", finding="x") for name in ("noise", "speed")])
        keep_results(ready_home, [CheckResult(name="speed", outcome="ok", finding="faster", numbers={"gflops": 3})])
        noise, speed = http.get("/v1/selftest").json()["checks"]
        assert (noise["name"], noise["outcome"]) == ("noise", "failed")
        assert (speed["outcome"], speed["finding"], speed["numbers"]) == ("ok", "faster", {"gflops": 3})
        assert speed["at"] >= noise["at"]
        (ready_home.run / "selftest.json").write_text('[{"name": 1}, 7]')
        assert http.get("/v1/selftest").json() == {"checks": []}


def test_no_home_is_made_for_the_results_of_a_self_test(home: Any) -> None:
    absent = Home(home / "absent")
    keep_results(absent, [CheckResult(name="noise", outcome="ok", finding="x")])
    assert not absent.root.exists()


def test_settings_are_told_with_their_defaults_and_what_is_wrong_with_the_file(ready_home: Home) -> None:
    ready_home.config.write_text("parallel = 2\n[worker]\nnice = 5\n")
    with asking(ready_home) as http:
        answer = http.get("/v1/config").json()
        settings = {each["name"]: each for each in answer["settings"]}
        assert (settings["parallel"]["value"], settings["parallel"]["default"]) == (2, 1)
        assert settings["worker.nice"]["value"] == 5
        assert settings["log.level"]["description"] == "what is less than this is left out"
        ready_home.config.write_text("parallel = many\n")
        broken = http.get("/v1/config").json()
        assert broken["settings"] == []
        assert "config.toml" in broken["error"]
