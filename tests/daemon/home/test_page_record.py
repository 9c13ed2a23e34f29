"""The token of a home's page: kept over restarts, to this user alone, and new where others may have read it."""

from __future__ import annotations

import stat

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.home.page_record import (
    PageServedAlready,
    find_page,
    forget_token,
    hold_page,
    read_page_record,
    write_page_record,
)


def test_a_token_outlives_its_process_and_is_this_users_alone(ready_home: Home) -> None:
    first = write_page_record(ready_home, "127.0.0.1", 8377)
    assert len(first.token) >= 43, "256 bits"
    assert stat.S_IMODE(ready_home.page_record.stat().st_mode) == 0o600
    second = write_page_record(ready_home, "127.0.0.1", 9000)
    assert (second.token, second.port) == (first.token, 9000)
    assert second.url == f"http://127.0.0.1:9000/#token={first.token}"
    assert read_page_record(ready_home) == second


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_token_that_others_may_have_read_is_not_used_again(ready_home: Home, mode: int) -> None:
    first = write_page_record(ready_home, "127.0.0.1", 8377)
    ready_home.page_record.chmod(mode)
    assert write_page_record(ready_home, "127.0.0.1", 8377).token != first.token
    assert stat.S_IMODE(ready_home.page_record.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"token": "x"}', '{"token": "", "host": "", "port": 1, "pid": 1, "started_at": 0}']
)
def test_a_broken_or_a_guessable_record_is_replaced(ready_home: Home, text: str) -> None:
    ready_home.page_record.write_text(text)
    ready_home.page_record.chmod(0o600)
    assert len(write_page_record(ready_home, "127.0.0.1", 8377).token) >= 43


def test_a_forgotten_token_opens_no_more(ready_home: Home) -> None:
    first = write_page_record(ready_home, "127.0.0.1", 8377)
    forget_token(ready_home)
    assert read_page_record(ready_home) is None
    assert write_page_record(ready_home, "127.0.0.1", 8377).token != first.token


def test_a_page_is_served_only_while_its_process_holds_the_lock_and_by_one_alone(ready_home: Home) -> None:
    record = write_page_record(ready_home, "::1", 8377)
    assert record.address == "http://[::1]:8377/"
    assert find_page(ready_home) is None
    with hold_page(ready_home):
        assert find_page(ready_home) == record
        with (
            pytest.raises(PageServedAlready, match=rf"by pid {record.pid} at http://\[::1\]:8377/"),
            hold_page(ready_home),
        ):
            pass
    assert find_page(ready_home) is None
