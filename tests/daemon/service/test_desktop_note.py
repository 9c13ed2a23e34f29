"""The notification on the desktop: its words are arguments, and never a program or markup."""

import sys

import pytest

from prefd.daemon.service.desktop_note import SCRIPT, build_note

EVIL = '"; do shell script "rm -rf ~'


def test_a_mac_shows_it_by_osascript_with_the_words_as_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    command = build_note(EVIL, "done", "trained\n21 steps")
    assert command == [
        "/usr/bin/osascript",
        "-l",
        "JavaScript",
        "-e",
        SCRIPT,
        f"prefd: {EVIL}",
        "done",
        "trained 21 steps",
    ]
    assert EVIL not in SCRIPT


def test_elsewhere_it_is_notify_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert build_note("--help", "failed", "a < b")[1:] == [
        "--app-name=prefd", "--urgency=critical", "--", "prefd: --help", "failed: a &lt; b",
    ]  # fmt: skip
    assert len(build_note("a", "done", "x" * 5000)[-1]) < 400
