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


def test_the_child_is_asked_once_until_something_changes(made: Home, tmp_path: Path) -> None:
    worker = fake_worker.make_worker(tmp_path)
    first = load_catalog(made, worker)
    assert sorted(first.losses) == ["cpo", "dpop", "ipo", "sigmoid"]
    assert first.losses["ipo"].params["beta"]["exclusiveMinimum"] == 0
    assert not first.losses["cpo"].needs_reference
    assert load_catalog(made, worker) is first

    (made.root / "mine.py").write_text("")
    made.config.write_text('plugins = ["mine.py"]')
    second = load_catalog(made, worker)
    assert second is not first
    (made.root / "mine.py").write_text("# edited")
    assert load_catalog(made, worker) is not second


def test_an_edit_of_a_module_that_a_plugin_imported_has_the_child_asked_again(made: Home, tmp_path: Path) -> None:
    helper = tmp_path / "helper.py"
    helper.write_text("")
    os.utime(helper, (1, 1))
    worker = fake_worker.make_worker(tmp_path)
    (tmp_path / "catalog.json").write_text(json.dumps(fake_worker.CATALOG | {"files": [str(helper)]}))
    found = load_catalog(made, worker)
    assert load_catalog(made, worker) is found
    helper.write_text("# edited")
    assert load_catalog(made, worker) is not found


def test_an_installed_distribution_has_the_child_asked_again(
    made: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(site)])
    worker = fake_worker.make_worker(tmp_path)
    found = load_catalog(made, worker)
    assert load_catalog(made, worker) is found
    (site / "new-1.0.dist-info").mkdir()
    os.utime(site, ns=(1, 1))  # whatever the clock's resolution
    assert load_catalog(made, worker) is not found


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("!no module named mlx", r"failed \(exit code 1\): no module named mlx"),
        ("a plugin prints this", "gave no JSON: 'a plugin prints this': does one print"),
        (json.dumps({"losses": {"x": {}}}), "is not as expected: KeyError"),
        ("[]", "is not as expected"),
    ],
)
def test_a_child_that_fails_is_an_error_in_words_and_tried_again(
    made: Home, tmp_path: Path, answer: str, said: str
) -> None:
    worker = fake_worker.make_worker(tmp_path)
    (tmp_path / "catalog.json").write_text(answer)
    with pytest.raises(CatalogError, match=said):
        load_catalog(made, worker)
    (tmp_path / "catalog.json").write_text(json.dumps(fake_worker.CATALOG))
    assert load_catalog(made, worker).losses


def test_a_child_that_is_killed_is_asked_again_but_not_for_ever(made: Home, tmp_path: Path) -> None:
    script = tmp_path / "killed.sh"
    worker = " ".join(fake_worker.make_worker(tmp_path))
    script.write_text(
        f'echo >> {tmp_path}/asked; [ $(wc -l < {tmp_path}/asked) -eq $KILLED ] || kill -9 $$; {worker} "$@"'
    )
    for killed, asked in (("3", 3), ("9", 6)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KILLED", killed)
            if asked == 3:
                assert load_catalog(made, ("sh", str(script))).losses
            else:
                made.config.write_text("# another one")
                with pytest.raises(CatalogError, match=r"listing the plugins failed \(SIGKILL\)"):
                    load_catalog(made, ("sh", str(script)))
        assert (tmp_path / "asked").read_text().count("\n") == asked


def test_a_worker_that_cannot_be_run_is_named(made: Home) -> None:
    with pytest.raises(CatalogError, match="cannot run /no/such/python: No such file"):
        load_catalog(made, ("/no/such/python",))


def test_the_daemon_imports_neither_mlx_nor_a_plugin() -> None:
    code = (
        "import sys, prefd.daemon.service.daemon, prefd.daemon.control.client, prefd.daemon.queue.supervisor\n"
        "bad = [name for name in sys.modules if name.partition('.')[0] in ('mlx', 'mlx_lm', 'datasets', 'zarr', 'numpy')]\n"
        "bad += [name for name in ('prefd.plugins.types', 'prefd.plugins.manager') if name in sys.modules]\n"
        "sys.exit(', '.join(bad) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
