"""What is no job's number, or larger than any, is told by every command that takes one, and is no error of the program."""

from __future__ import annotations

import json

import pytest

from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.home.layout import Home
from support import homes
from support.control_server import serving, talking
from support.homes import invoke

HUGE = "99999999999999999999"
"""More than 64 bits, which SQLite would not even look for."""
OF_ONE_JOB = ("show", "logs", "metrics", "pairs", "events", "watch", "archive", "open", "compare")


@pytest.mark.parametrize("command", OF_ONE_JOB)
@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (HUGE, f"{HUGE} is larger than any job's number; expected one number, such as 3"),
        ("#3", "'#3' is no job's number; expected one number, such as 3"),
        ("1-3", "'1-3' is no job's number; expected one number, such as 3"),
    ],
)
def test_a_command_of_one_job_says_what_it_expects(ready_home: Home, command: str, typed: str, message: str) -> None:
    result = invoke(ready_home, command, typed)
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert message in result.stderr


def test_leading_zeros_and_the_largest_number_are_numbers(ready_home: Home) -> None:
    homes.add_done(ready_home, name="first")
    assert json.loads(invoke(ready_home, "show", "001", "--json").stdout)["job"]["id"] == 1
    result = invoke(ready_home, "show", str(2**63 - 1))
    assert (result.exit_code, result.stderr) == (Exit.NOT_FOUND, f"error: there is no job {2**63 - 1}\n")


def test_a_list_as_long_as_one_likes_is_all_there_is(ready_home: Home) -> None:
    homes.add_done(ready_home, name="first")
    for words in (["--limit", HUGE], ["--sort", "place", "--limit", HUGE]):
        assert "first" in invoke(ready_home, "jobs", *words).stdout


def test_the_api_refuses_such_numbers_in_a_body(ready_home: Home) -> None:
    homes.add_done(ready_home, name="first")
    bodies = [
        *((f"/v1/jobs/{action}", {}) for action in ("cancel", "pause", "resume", "retry", "remove")),
        ("/v1/jobs/edit", {"settings": {"priority": 1}}),
        ("/v1/discard", {"part": "fused"}),
    ]
    with serving(ready_home), talking(ready_home) as http:
        for path, more in bodies:
            reply = http.post(path, json={"jobs": [1, int(HUGE)], **more})
            assert (reply.status_code, HUGE in reply.json()["error"]) == (422, True), path
