"""config.toml is taken up by a daemon that runs, and a plugin that hangs does not keep it from stopping."""

from __future__ import annotations

import sys
import time

from prefd.daemon.home.settings import Config, WatchConfig
from support import fake_worker
from support.child_processes import list_command_lines
from support.paths import SUPPORT
from support.running_daemon import Place


def test_what_is_changed_in_config_toml_counts_from_then_on(place: Place) -> None:
    with place.daemon() as client:
        place.home.config.write_text(
            "parallel = 2\nstop_grace_seconds = 1.0\n"
            "[watch]\nsettle_seconds = 0.05\nrescan_seconds = 0.2\npolling = true\n"
            f"[notify]\ncommand = ['touch', '{place.folder / 'told'}']\n"
        )
        fake_worker.wait_for(lambda: client.status().settings.values.get("parallel") == 2)
        fake_worker.wait_for(lambda: client.status().watcher.why == "watch.polling is set")
        for name in ("a", "b", "c"):
            place.drop(f"{name}.yaml", name="gate", training={"iters": 1, "seed": ord(name)}, loss={"name": "cpo"})
        place.drop("d.yaml", name="sleep", loss={"name": "cpo"})
        fake_worker.wait_for(lambda: (place.folder / "told").exists())
        place.home.config.write_text("parallel = [")
        fake_worker.wait_for(lambda: client.status().settings.error is not None)
        assert client.status().settings.values["parallel"] == 2


def test_a_plugin_that_hangs_does_not_hold_up_the_stop(place: Place) -> None:
    place.worker = (sys.executable, "-I", "-S", str(SUPPORT / "fake_lister.py"))
    config = Config(
        plugins=["/hang.py"], watch=WatchConfig(settle_seconds=0.05, rescan_seconds=0.2), stop_grace_seconds=1.0
    )
    with place.daemon(config):
        place.drop("a.yaml")
        fake_worker.wait_for(lambda: any("fake_lister" in str(line) for line in list_command_lines()))
        began = time.monotonic()
    assert time.monotonic() - began < 8
