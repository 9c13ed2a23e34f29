"""A daemon's settings while config.toml is edited."""

from __future__ import annotations

import logging

import pytest

from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.home.live_settings import LiveSettings
from prefd.daemon.home.settings import Config


def test_a_change_is_taken_up_once_the_file_has_settled_and_the_log_says_what_it_is(
    ready_home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    settings = LiveSettings.load(ready_home)
    ready_home.config.write_text("parallel = 2\n[worker]\nnice = 5\n")
    assert not settings.look(), "it may be being written"
    with caplog.at_level(logging.INFO):
        assert settings.look()
    assert (settings.current.parallel, settings.current.worker.nice) == (2, 5)
    assert caplog.messages == ["config.toml has changed: parallel 1 → 2; worker.nice 0 → 5"]
    assert not settings.look()


def test_while_the_file_cannot_be_read_the_last_good_settings_stay(
    ready_home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    ready_home.config.write_text("parallel = 3\n")
    settings = LiveSettings.load(ready_home)
    ready_home.config.write_text("parallel = 2\n[worker\n")
    assert settings.look(at_once=True)
    assert settings.current.parallel == 3
    assert settings.error is not None
    assert settings.error.startswith("config.toml cannot be read: line 2, column 8: Expected ']'")
    assert not settings.look(at_once=True)
    assert len(caplog.messages) == 1
    ready_home.config.write_text("parallel = 3\n\n")
    assert settings.look(at_once=True)
    assert settings.error is None


def test_a_file_that_is_gone_means_the_defaults(ready_home: Home) -> None:
    ready_home.config.write_text("parallel = 3\n")
    settings = LiveSettings.load(ready_home)
    ready_home.config.unlink()
    settings.look(at_once=True)
    assert settings.current == Config()


def test_a_worker_goes_by_what_it_was_handed_and_another_by_the_file(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready_home.config.write_text('plugins = ["mine.py"]\n')
    planned = HandedSettings.from_config(Config.load(ready_home), ready_home, {"other": "it hangs"})
    ready_home.config.write_text("plugins = [")
    for name, value in planned.environment().items():
        monkeypatch.setenv(name, value)
    assert HandedSettings.read(ready_home) == planned
    assert planned.plugin_files == [ready_home.root / "mine.py"]
    monkeypatch.undo()
    ready_home.config.write_text('cache_url = "s3://bucket"\n')
    assert HandedSettings.read(ready_home) == HandedSettings(cache_url="s3://bucket")
