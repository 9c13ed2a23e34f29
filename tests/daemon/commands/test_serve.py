"""`prefd serve` prints the key alone, and says what is missing before it serves."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.home.serve_key import BadServeKey, keep_key
from prefd.daemon.home.serve_record import find_server
from prefd.daemon.home.settings import ServeConfig
from prefd.daemon.live.server import locate_models
from support.homes import invoke


def test_the_key_is_printed_alone_stays_and_is_its_users(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    first = invoke(home, "serve", "--show-key")
    key = first.stdout.strip()
    assert key.startswith("tml-")
    assert len(key) > 40
    assert first.stdout == key + "\n"
    assert json.loads(invoke(home, "serve", "--show-key", "--json").stdout)["key"] == key
    assert stat.S_IMODE(home.serve_key.stat().st_mode) == 0o600
    home.serve_key.chmod(0o644)
    with pytest.raises(BadServeKey, match=r"can be read by others: remove it"):
        keep_key(home)
    home.serve_key.unlink()
    assert keep_key(home) != key


def test_a_port_that_is_taken_is_told_with_the_remedy(tmp_path: Path) -> None:
    import socket

    home = Home(tmp_path / "home")
    home.create()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ended = invoke(home, "serve", "--port", str(port))
    assert ended.exit_code == 1
    assert f"port {port} of 127.0.0.1 is taken by" in ended.stderr
    assert "`prefd serve --port`" in ended.stderr
    assert "clients may train nothing yet" in ended.stderr
    assert "no daemon runs" in ended.stderr
    assert find_server(home) is None


def test_models_are_folders_from_the_home_or_hub_ids(tmp_path: Path) -> None:
    (tmp_path / "org" / "local").mkdir(parents=True)
    config = ServeConfig(models={"a": "org/local", "b": "org/name", "c": "/m", "d": "./m"})
    located = locate_models(Home(tmp_path), config)
    assert located == {"a": str(tmp_path / "org/local"), "b": "org/name", "c": "/m", "d": str(tmp_path / "m")}
