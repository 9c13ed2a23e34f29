"""An unmodified Tinker client drives the server over TCP, in protobuf, from a process of its own: the page's program, and every call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import client_program
from support.live_client import has_client, run_client
from support.live_server import KEY, LivePlace, listening
from support.pages import blocks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not has_client(),
        reason="a Tinker client is not installed here (pip install 'prefd[live]')",
    ),
]


@pytest.fixture
def place(tmp_path: Path) -> LivePlace:
    return LivePlace(tmp_path)


@pytest.fixture
def url(place: LivePlace) -> Iterator[str]:
    with listening(place) as address:
        yield address


def test_the_program_of_the_page_runs(place: LivePlace, url: str) -> None:
    (block,) = blocks("python", "docs/live.md")
    ended = run_client(url, "-c", block.text, key=KEY)
    assert ended.stdout.strip().endswith("/sampler_weights/first"), ended.stderr
    assert place.worker().kinds == ["get_info", "forward_backward", "optim_step", "save_sampler"]


def test_a_client_does_all_that_a_training_program_does(place: LivePlace, url: str) -> None:
    ended = run_client(url, client_program.__file__, "local/a", key=KEY)
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout)
    assert seen["losses"] == [2.5, 1.5, 0.5]
    assert seen["first"] == [pytest.approx([-0.06, -0.07]), pytest.approx([-0.02, -0.03, -0.04])]
    assert seen["reference"] == [None, pytest.approx(-0.02), pytest.approx(-0.05)]
    assert seen["custom"]["own:sum"] == pytest.approx(sum((x + 3) ** 2 for x in (0.06, 0.07, 0.02, 0.03, 0.04)))
    assert seen["step"] == {"optim/step:last": 3.0}
    assert seen["drawn"] == [[[7, 8], [7, 8]]] * 2
    assert seen["scored"] == [None, pytest.approx(-4.02), pytest.approx(-4.05)]
    assert [name for name, _ in seen["errors"]] == ["RequestFailedError", "NotFoundError"]
    assert "there is no model 'no/such' here" in seen["errors"][1][1]
    assert seen["chunks_differ_by"] == 0
    assert seen["goes_on"]
    assert place.worker().kinds.count("compute_logprobs") == 2
    assert [model["model_id"][-7:] for model in place.jobs.opened] == ["train:0", "train:1"]


def test_a_wrong_key_is_told_at_once(url: str) -> None:
    program = "import tinker, time; began = time.monotonic()\ntry: tinker.ServiceClient().get_server_capabilities()\n"
    program += "except tinker.AuthenticationError as error: print(time.monotonic() - began, error)"
    seconds, _, why = run_client(url, "-c", program, key="tml-" + "w" * 43).stdout.partition(" ")
    assert float(seconds) < 5
    assert "prefd serve --show-key" in why
