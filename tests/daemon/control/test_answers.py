"""What the daemon answers to an action, as the client reads it."""

from __future__ import annotations

import json

import pytest

from prefd.daemon.control.answers import parse_job
from prefd.daemon.control.client import Client
from prefd.daemon.control.control_error import ControlError
from prefd.daemon.home.layout import Home
from prefd.daemon.jobs.table import JobTable
from prefd.daemon.text.json_output import dump_compact
from support import homes
from support.control_server import serving


def test_a_job_that_was_acted_on_is_the_one_in_the_table(ready_home: Home) -> None:
    homes.add_queued(ready_home)
    with serving(ready_home):
        job = Client(ready_home).act("pause", 1)
        acted = Client(ready_home).act_on_queue("resume-all")
    with JobTable.open_readonly(ready_home.database) as table:
        assert acted.jobs == [table.get(1)]
    assert (job.state, acted.jobs[0].state, acted.queue.paused_at) == ("paused", "queued", None)


def test_its_json_is_what_the_daemon_wrote(ready_home: Home) -> None:
    document = json.loads(dump_compact(homes.add_running(ready_home).to_json()))
    assert json.loads(dump_compact(parse_job(document).to_json())) == document
    assert parse_job(document | {"watts": 3}) == parse_job(document)


def test_an_answer_of_another_version_that_cannot_be_read_says_so(ready_home: Home) -> None:
    document = json.loads(dump_compact(homes.add_running(ready_home).to_json()))
    del document["attempt"]
    with pytest.raises(ControlError, match=r"the daemon's answer has no attempt that this prefd can read: restart"):
        parse_job(document)
