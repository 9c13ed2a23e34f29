import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prefd.daemon.home.layout import Home
from prefd.daemon.specs.catalog import CatalogError
from prefd.daemon.specs.catalog_listing import load_catalog
from support import fake_worker


def test_the_child_is_asked_once_until_something_changes(ready_home: Home, tmp_path: Path) -> None:
    worker = fake_worker.make_worker(tmp_path)
    first = load_catalog(ready_home, worker)
    assert sorted(first.losses) == ["cpo", "dpop", "ipo", "sigmoid"]
    assert first.losses["ipo"].params["beta"]["exclusiveMinimum"] == 0
    assert not first.losses["cpo"].needs_reference
    assert load_catalog(ready_home, worker) is first

    (ready_home.root / "mine.py").write_text("")
    ready_home.config.write_text('plugins = ["mine.py"]')
    second = load_catalog(ready_home, worker)
    assert second is not first
    (ready_home.root / "mine.py").write_text("# edited")
    assert load_catalog(ready_home, worker) is not second


def test_an_edit_of_a_module_that_a_plugin_imported_has_the_child_asked_again(ready_home: Home, tmp_path: Path) -> None:
    helper = tmp_path / "helper.py"
    helper.write_text("")
    os.utime(helper, (1, 1))
    worker = fake_worker.make_worker(tmp_path)
    (tmp_path / "catalog.json").write_text(json.dumps(fake_worker.CATALOG | {"files": [str(helper)]}))
    catalog = load_catalog(ready_home, worker)
    assert load_catalog(ready_home, worker) is catalog
    helper.write_text("# edited")
    assert load_catalog(ready_home, worker) is not catalog


def test_an_installed_distribution_has_the_child_asked_again(
    ready_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    worker = fake_worker.make_worker(tmp_path)
    catalog = load_catalog(ready_home, worker)
    assert load_catalog(ready_home, worker) is catalog
    (site / "new-1.0.dist-info").mkdir()
    os.utime(site, ns=(1, 1))  # whatever the clock's resolution
    assert load_catalog(ready_home, worker) is not catalog


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("!no module named mlx", r"failed \(exit code 1\): no module named mlx"),
        ("a plugin prints this", "gave no JSON: 'a plugin prints this': does one print"),
        (json.dumps({"losses": {"x": {}}}), "is not as expected: KeyError"),
        ("[]", "is not as expected"),
    ],
)
def test_a_child_that_fails_is_an_error_in_words_and_tried_again(
    ready_home: Home, tmp_path: Path, answer: str, message: str
) -> None:
    worker = fake_worker.make_worker(tmp_path)
    (tmp_path / "catalog.json").write_text(answer)
    with pytest.raises(CatalogError, match=message):
        load_catalog(ready_home, worker)
    (tmp_path / "catalog.json").write_text(json.dumps(fake_worker.CATALOG))
    assert load_catalog(ready_home, worker).losses


def test_a_child_that_is_killed_is_asked_again_but_not_for_ever(ready_home: Home, tmp_path: Path) -> None:
    script = tmp_path / "killed.sh"
    worker = " ".join(fake_worker.make_worker(tmp_path))
    script.write_text(
        f'echo >> {tmp_path}/asked; [ $(wc -l < {tmp_path}/asked) -eq $KILLED ] || kill -9 $$; {worker} "$@"'
    )
    for killed, call_count in (("3", 3), ("9", 6)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KILLED", killed)
            if call_count == 3:
                assert load_catalog(ready_home, ("sh", str(script))).losses
            else:
                ready_home.config.write_text("# another one")
                with pytest.raises(CatalogError, match=r"listing the plugins failed \(SIGKILL\)"):
                    load_catalog(ready_home, ("sh", str(script)))
        assert (tmp_path / "asked").read_text().count("\n") == call_count


def test_a_worker_that_cannot_be_run_is_named(ready_home: Home) -> None:
    with pytest.raises(CatalogError, match="cannot run /no/such/python: No such file"):
        load_catalog(ready_home, ("/no/such/python",))


def test_the_daemon_imports_neither_mlx_nor_a_plugin() -> None:
    code = (
        "import sys, prefd.daemon.service.daemon, prefd.daemon.control.client, prefd.daemon.queue.supervisor\n"
        "bad = [name for name in sys.modules if name.partition('.')[0] in ('mlx', 'mlx_lm', 'datasets', 'zarr', 'numpy')]\n"
        "bad += [name for name in ('prefd.plugins.types', 'prefd.plugins.manager') if name in sys.modules]\n"
        "sys.exit(', '.join(bad) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
