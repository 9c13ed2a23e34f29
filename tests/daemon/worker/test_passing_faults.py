"""Which errors of a worker are the machine's and pass, by what they were raised from."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from types import SimpleNamespace

import httpx
import huggingface_hub
import pytest
from huggingface_hub import constants

from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.passing_faults import is_broken_installation, is_outage, is_unreached


class Refusal(Exception):
    """An error with the hub's answer, as huggingface_hub has it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status}")
        self.response = SimpleNamespace(status_code=status)


class OfflineModeIsEnabled(ConnectionError):
    """As huggingface_hub raises it where HF_HUB_OFFLINE is set."""


def wrapped(*causes: BaseException) -> BaseException:
    """A job's error that was raised from the last of `causes`, which was from the one before it."""
    error: BaseException | None = None
    for cause in (*causes, JobError("model org/name: it could not be downloaded")):
        cause.__cause__ = error
        error = cause
    assert error is not None
    return error


@pytest.mark.parametrize(
    "causes",
    [
        [socket.gaierror(-3, "Temporary failure in name resolution")],
        [ConnectionRefusedError(errno.ECONNREFUSED, "refused")],
        [TimeoutError()],
        [OSError(errno.ENETUNREACH, "Network is unreachable")],
        [httpx.ConnectError("no route")],
        [httpx.ReadTimeout("slow"), FileNotFoundError("not in the cache on this disk")],
        [Refusal(503)],
        [Refusal(429)],
    ],
    ids=repr,
)
def test_no_answer_and_a_hub_that_is_out_of_order_pass(causes: list[BaseException]) -> None:
    assert is_outage(wrapped(*causes))


@pytest.mark.parametrize(
    "causes",
    [
        [Refusal(404)],
        [Refusal(401), FileNotFoundError()],
        [httpx.ConnectError("before"), Refusal(404)],
        [OfflineModeIsEnabled("HF_HUB_OFFLINE=1"), FileNotFoundError()],
        [FileNotFoundError(errno.ENOENT, "No such file or directory")],
        [ValueError("Unknown split")],
    ],
    ids=repr,
)
def test_the_hubs_refusal_and_what_is_not_there_are_the_jobs_own(causes: list[BaseException]) -> None:
    assert not is_outage(wrapped(*causes))


def test_a_module_that_cannot_be_imported_is_found_behind_what_it_was_wrapped_in() -> None:
    assert is_broken_installation(wrapped(ModuleNotFoundError("No module named 'mlx.core'"), ValueError("odd")))
    assert is_broken_installation(wrapped(SyntaxError("half written")))
    assert not is_broken_installation(wrapped(ValueError("odd")))


def test_the_hubs_own_library_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever HTTP client it uses, it is asked for a model where nobody listens."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises((OSError, ValueError)) as caught:
        huggingface_hub.snapshot_download("org/name", endpoint=f"http://127.0.0.1:{port}", cache_dir=tmp_path)
    assert is_outage(caught.value)
    assert is_unreached(caught.value)


def test_the_users_wish_to_stay_offline_is_no_outage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises((OSError, ValueError)) as caught:
        huggingface_hub.snapshot_download("org/name", cache_dir=tmp_path)
    assert not is_outage(caught.value)
    assert is_unreached(caught.value), "and it was not asked all the same"
