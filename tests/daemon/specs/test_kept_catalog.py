"""A command takes the catalogue that an earlier one has listed, for as long as nothing has changed that it depends on."""

import json
import os
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.specs import catalog_listing, kept_catalog
from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.catalog_listing import load_catalog
from support import fake_worker


@pytest.fixture
def worker(ready_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """A stand-in worker that has listed its plugins, one of which has a file; each call finds what a new process has in memory."""
    own = tmp_path / "plugins"
    (own / "losses").mkdir(parents=True)
    monkeypatch.setattr(kept_catalog, "OWN", own)
    monkeypatch.setattr(catalog_listing, "_entries", {})
    worker = fake_worker.make_worker(tmp_path)
    (tmp_path / "plugin.py").write_text("")
    os.utime(tmp_path / "plugin.py", (1, 1))
    value = fake_worker.CATALOG | {"files": [str(tmp_path / "plugin.py")]}
    (tmp_path / "catalog.json").write_text(json.dumps(value))
    load(ready_home, worker)
    return worker


def load(home: Home, worker: tuple[str, ...], anew: bool = False) -> Catalog:
    catalog_listing._entries.clear()
    return load_catalog(home, worker, anew=anew)


def test_the_next_process_takes_what_the_last_has_listed(
    ready_home: Home, worker: tuple[str, ...], tmp_path: Path
) -> None:
    listed = load(ready_home, worker, anew=True)
    (tmp_path / "catalog.json").write_text("!it would fail now")
    again = load(ready_home, worker)
    assert (again, again.stamp) == (listed, listed.stamp)
    assert load_catalog(ready_home, worker) is again


def test_what_the_catalogue_depends_on_has_it_listed_again(
    ready_home: Home, worker: tuple[str, ...], tmp_path: Path, subtests: pytest.Subtests
) -> None:
    changes = {
        "the plugin's file": lambda: (tmp_path / "plugin.py").write_text("# edited"),
        "the settings": lambda: ready_home.config.write_text("# edited"),
        "a loss of prefd's own": lambda: (tmp_path / "plugins" / "losses" / "new.py").write_text(""),
        "a kept file that is damaged": lambda: (ready_home.run / "catalog.json").write_text("{"),
        "a kept file of another form": lambda: (ready_home.run / "catalog.json").write_text("[1]"),
    }
    for number, (what, change) in enumerate(changes.items()):
        change()
        for name in ("plugin.py", "plugins/losses/new.py"):
            if (tmp_path / name).exists():
                os.utime(tmp_path / name, (2 + number, 2 + number))  # not after the child began
        value = json.loads((tmp_path / "catalog.json").read_text()) | {
            "reporters": {f"r{number}": {"summary": "", "plugin": "p"}}
        }
        (tmp_path / "catalog.json").write_text(json.dumps(value))
        with subtests.test(what):
            assert list(load(ready_home, worker).reporters) == [f"r{number}"]


def test_plugins_that_cannot_be_loaded_are_tried_by_every_command(
    ready_home: Home, worker: tuple[str, ...], tmp_path: Path
) -> None:
    value = json.loads((tmp_path / "catalog.json").read_text())
    broken = value | {"plugins": [*value["plugins"], value["plugins"][0] | {"name": "mine", "error": "no module"}]}
    (tmp_path / "catalog.json").write_text(json.dumps(broken))
    assert load(ready_home, worker, anew=True).failures == {"mine": "no module"}
    (tmp_path / "catalog.json").write_text(json.dumps(value))
    assert load(ready_home, worker).failures == {}


def test_a_daemons_own_listing_takes_none_that_is_kept(
    ready_home: Home, worker: tuple[str, ...], tmp_path: Path
) -> None:
    """It hands its settings over, and finds out anew whether its plugins can be imported."""
    (tmp_path / "catalog.json").write_text(json.dumps(fake_worker.CATALOG | {"reporters": {}}))
    settings = catalog_listing.HandedSettings.from_config(catalog_listing.Config.load(ready_home), ready_home)
    catalog_listing._entries.clear()
    assert not load_catalog(ready_home, worker, settings).reporters
