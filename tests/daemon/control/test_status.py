"""The daemon's status, from the daemon to whoever asks."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from prefd.daemon.control.answers import parse_status
from prefd.daemon.control.client import Client
from prefd.daemon.control.control_error import ControlError
from prefd.daemon.home.layout import Home
from prefd.daemon.text.json_output import dump_compact
from support import homes
from support.control_server import FakeDaemon, serving


def test_a_status_is_the_same_behind_the_socket(ready_home: Home) -> None:
    homes.add_running(ready_home, name="smol")
    with serving(ready_home) as daemon:
        assert Client(ready_home).status() == daemon.status()


def test_its_json_is_that_of_its_parts(ready_home: Home) -> None:
    job = homes.add_running(ready_home, name="smol")
    document = json.loads(dump_compact(FakeDaemon(ready_home).status().to_json()))
    (active,) = document["active"]
    assert list(active)[:-1] == list(job.to_json())
    assert active["progress"]["unit"] == "steps"
    assert document["queue"] == {"paused_at": None, "waits_for": None}
    assert document["watcher"]["left_alone"] == {}


def test_a_newer_daemon_may_tell_more(ready_home: Home) -> None:
    document = json.loads(dump_compact(FakeDaemon(ready_home).status().to_json()))
    assert parse_status(document | {"watts": 3}) == parse_status(document)


def test_the_status_of_another_version_that_cannot_be_read_says_so(ready_home: Home) -> None:
    document = json.loads(dump_compact(FakeDaemon(ready_home).status().to_json()))
    with pytest.raises(
        ControlError, match=r"the daemon's status has no watcher\.mode that this prefd can read: restart"
    ):
        parse_status(document | {"watcher": {"mode": "telepathy"}})


def test_a_frozen_status_is_not_changed(ready_home: Home) -> None:
    status = FakeDaemon(ready_home).status()
    with pytest.raises(FrozenInstanceError):
        status.pid = 43  # type: ignore[misc]
    assert replace(status.watcher, why="x") != status.watcher
