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
    ("typed", "told"),
    [
        (HUGE, f"{HUGE} is larger than any job's number; expected one number, such as 3"),
        ("#3", "'#3' is no job's number; expected one number, such as 3"),
        ("1-3", "'1-3' is no job's number; expected one number, such as 3"),
    ],
)
def test_a_command_of_one_job_says_what_it_expects(made: Home, command: str, typed: str, told: str) -> None:
    result = invoke(made, command, typed)
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert told in result.stderr


def test_leading_zeros_and_the_largest_number_are_numbers(made: Home) -> None:
    homes.add_done(made, name="first")
    assert json.loads(invoke(made, "show", "001", "--json").stdout)["job"]["id"] == 1
    result = invoke(made, "show", str(2**63 - 1))
    assert (result.exit_code, result.stderr) == (Exit.NOT_FOUND, f"error: there is no job {2**63 - 1}\n")


def test_a_list_as_long_as_one_likes_is_all_there_is(made: Home) -> None:
    homes.add_done(made, name="first")
    for words in (["--limit", HUGE], ["--sort", "place", "--limit", HUGE]):
        assert "first" in invoke(made, "jobs", *words).stdout


def test_the_api_refuses_such_numbers_in_a_body(made: Home) -> None:
    homes.add_done(made, name="first")
    bodies = [
        *((f"/v1/jobs/{action}", {}) for action in ("cancel", "pause", "resume", "retry", "remove")),
        ("/v1/jobs/edit", {"settings": {"priority": 1}}),
        ("/v1/discard", {"part": "fused"}),
    ]
    with serving(made), talking(made) as http:
        for path, more in bodies:
            reply = http.post(path, json={"jobs": [1, int(HUGE)], **more})
            assert (reply.status_code, HUGE in reply.json()["error"]) == (422, True), path
