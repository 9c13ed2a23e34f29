from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from prefd.cache.store import ReferenceCache
from prefd.daemon.commands.shared.errors import Exit
from prefd.daemon.control.api import daemon as daemon_api
from prefd.daemon.control.status import SettingsInForce
from prefd.daemon.health import checks
from prefd.daemon.home import lock
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config
from prefd.daemon.machine import blas
from prefd.daemon.runs.snapshot import list_versions
from prefd.daemon.timing import Timing
from support import homes
from support.findings import only
from support.homes import invoke
from support.running_daemon import Place

pytestmark = pytest.mark.usefixtures("answers_in_process")


@pytest.fixture
def there(home: Path) -> Home:
    ready_home = Home(home)
    ready_home.create()
    return ready_home


def fake_worker(tmp_path: Path, code: str) -> tuple[str, ...]:
    """A command that stands for `python -m prefd.daemon.worker` on another machine."""
    script = tmp_path / "worker.py"
    script.write_text(code)
    return (sys.executable, str(script))


def device_says(tmp_path: Path, gflops: float, library: str | None) -> tuple[str, ...]:
    facts = {"device": "cpu", "device_name": "a machine", "gflops": gflops, "blas": library, "mlx": "0", "mlx_lm": "0"}
    return fake_worker(tmp_path, f"print({json.dumps(facts)!r})")


def test_a_healthy_home_has_no_failure(there: Home) -> None:
    result = invoke(there, "doctor")
    assert result.exit_code == Exit.OK, result.output
    assert {line.split()[0] for line in result.stdout.splitlines()} <= {"ok", "warn", "→"}
    for part in ["python", "mlx 0.", "GFLOP/s", str(there.root), "free", "13 losses", "not running", "empty"]:
        assert part in result.stdout


def test_json_has_every_finding(there: Home) -> None:
    findings = json.loads(invoke(there, "doctor", "--json").stdout)["findings"]
    subjects = {finding["subject"] for finding in findings}
    assert {"python", "packages", "device", "home", "disk", "config", "plugins", "jobs", "daemon", "cache"} <= subjects
    assert {"watch", "limits", "socket", "service"} <= subjects


def test_a_failure_gives_its_remedy_and_exit_code(there: Home) -> None:
    there.config.write_text("nonsense = 1\n")
    result = invoke(there, "doctor")
    assert result.exit_code == Exit.FAILED
    assert "nonsense" in result.stdout
    assert "→ edit" in result.stdout


def test_the_blas_is_reported_where_one_is_wanted(there: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "is_wanted", lambda: True)
    worker = device_says(tmp_path, 171.4, "libopenblas.so.0")
    device, library = checks.check_device(there, worker=worker)
    assert device.detail == "cpu (a machine): 171 GFLOP/s in float32"
    assert (library.level, library.detail) == ("ok", "libopenblas.so.0")

    _, library = checks.check_device(there, worker=device_says(tmp_path, 4.1, None))
    assert (library.level, library.remedy) == ("warn", blas.INSTALL)


def test_there_is_nothing_about_blas_where_none_is_wanted(
    there: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blas, "is_wanted", lambda: False)
    worker = device_says(tmp_path, 9000.0, None)
    assert only(list(checks.check_device(there, worker=worker))).level == "ok"


def test_the_device_is_the_one_that_the_settings_name(
    there: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blas, "is_wanted", lambda: False)
    there.config.write_text('[worker]\ndevice = "cpu"\n')
    answer = "{'device': json.loads(os.environ['PREFD_SETTINGS'])['device'], 'device_name': 'M2', 'blas': None, "
    code = f"import json, os; print(json.dumps({answer}'gflops': 9.0, 'mlx': '1', 'mlx_lm': '1'}}))"
    finding = only(list(checks.check_device(there, worker=fake_worker(tmp_path, code))))
    assert finding.detail == 'cpu (M2, by worker.device = "cpu" in config.toml): 9 GFLOP/s in float32'


@pytest.mark.parametrize("code", ["raise SystemExit('no libmlx.so here')", "print('not json')", "print('{}')"])
def test_a_device_that_does_not_work_fails(there: Home, tmp_path: Path, code: str) -> None:
    finding = only(list(checks.check_device(there, worker=fake_worker(tmp_path, code))))
    assert finding.level == "fail"
    assert "prefd[cpu]" in finding.remedy or sys.platform == "darwin"


def test_the_cache_is_counted_or_named(there: Home) -> None:
    assert only(list(checks.check_cache(there))).detail == "empty"
    ReferenceCache.open(there.cache)
    assert only(list(checks.check_cache(there))).detail == "0 references, 0 segments, 0 completions, 0 B"
    (there.cache / "zarr.json").write_text("{}")
    finding = only(list(checks.check_cache(there)))
    assert finding.level == "fail"
    assert str(there.cache) in finding.detail


def test_a_shared_cache_is_asked_whether_it_answers(
    there: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(checks.check_shared_cache(there)) == []
    there.config.write_text(f"cache_url = 'file://{tmp_path / 'bucket'}'\n")
    finding = only(list(checks.check_shared_cache(there)))
    assert (finding.level, finding.detail) == ("ok", f"file://{tmp_path / 'bucket'} answers: 0 references")

    there.config.write_text("cache_url = 'gopher://bucket'\n")
    finding = only(list(checks.check_shared_cache(there)))
    assert (finding.level, finding.remedy) == ("fail", f"edit cache_url in {there.config}")

    there.config.write_text("cache_url = 's3://bucket/prefix'\n")
    for name, value in {"endpoint": "http://127.0.0.1:9", "region": "x", "allow_http": "true"}.items():
        monkeypatch.setenv(f"AWS_{name.upper()}", value)
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "x")
    finding = only(list(checks.check_shared_cache(there, Timing(bucket_check=0.05))))
    assert (finding.level, finding.detail) == ("warn", "s3://bucket/prefix gave no answer within 0.05 s")
    assert "AWS_… variables" in finding.remedy

    def refuse(*_: Any) -> set[str]:
        raise OSError("Access denied\nat length")

    monkeypatch.setattr("prefd.cache.shared.bucket.Bucket.list_folders", refuse)
    finding = only(list(checks.check_shared_cache(there)))
    assert (finding.level, finding.detail) == ("warn", "s3://bucket/prefix: Access denied")


def test_a_damaged_job_table_fails(there: Home) -> None:
    there.database.write_bytes(b"this is not a database at all, not at all" * 100)
    finding = only(list(checks.check_jobs(there)))
    assert finding.level == "fail"
    assert str(there.database) in finding.detail


def test_what_is_not_the_version_that_prefd_needs_fails(there: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(list(checks.check_packages(there))).level == "ok"
    wanted = ["mlx>=99", "no-such-distribution>=1", "zarr>=3", "obstore>=99; extra == 's3'"]
    monkeypatch.setattr(checks.metadata, "requires", lambda name: wanted)
    finding = only(list(checks.check_packages(there)))
    mlx = checks.metadata.version("mlx")
    assert finding.detail == f"mlx is {mlx}, and prefd needs >=99; no-such-distribution is not installed"
    assert (finding.level, finding.remedy) == ("fail", "install prefd again in this environment")


def test_a_database_with_a_damaged_page_fails(there: Home) -> None:
    for number in range(3):
        homes.add_queued(there, name=f"job-{number}")
    with closing(sqlite3.connect(there.database)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finding = only(list(checks.check_jobs(there)))
    assert (finding.level, finding.detail.split(";")[0]) == ("ok", "3 queued")
    assert finding.detail.endswith(", whole")
    pages = bytearray(there.database.read_bytes())
    pages[-2000:] = b"\xff" * 2000
    there.database.write_bytes(pages)
    finding = only(list(checks.check_jobs(there)))
    assert finding.level == "fail"
    assert str(there.database) in finding.detail


def test_a_daemon_that_does_not_answer_fails(there: Home) -> None:
    with lock.hold_lock(there):
        lock.announce(there, str(there.socket))
        finding = only(list(checks.check_daemon(there)))
    assert finding.level == "fail"
    assert finding.remedy == f"look at {there.log}; end it with `kill {os.getpid()}`"


def test_a_plugin_that_cannot_be_loaded_fails_and_is_named(there: Home) -> None:
    (there.root / "bad.py").write_text("import no_such_module\n")
    there.config.write_text("plugins = ['bad.py']\n")
    failed = [finding for finding in checks.check_plugins(there) if finding.level == "fail"]
    assert "no_such_module" in only(failed).detail
    assert "bad.py" in only(failed).remedy


def test_versions_that_have_changed_under_the_daemon_are_told_with_what_to_do() -> None:
    assert list(checks.check_versions(metadata.version("prefd"), list_versions())) == []
    skew, mlx = checks.check_versions("0.0.1", {"prefd": "0.0.1", "mlx": "0.1"})
    assert (skew.level, skew.remedy) == ("warn", "prefd stop && prefd start --detach")
    assert "the daemon is 0.0.1, this prefd " in skew.detail
    assert mlx.detail.startswith("mlx was 0.1 when the daemon was started, and is ")


def test_the_settings_that_the_daemon_goes_by_are_told_and_not_those_of_the_file_alone(there: Home) -> None:
    in_force = SettingsInForce(values=Config(parallel=2).model_dump(), read_at=1763794998.5, changed=["parallel 2"])
    there.config.write_text("parallel = 2\n")
    assert [each.detail for each in checks.check_settings_in_force(there, in_force)] == [
        "the daemon goes by parallel 2"
    ]
    there.config.write_text("parallel = 3\n")
    (finding,) = checks.check_settings_in_force(there, in_force)
    assert finding.level == "warn"
    assert "is not taken up yet: parallel 2 → 3" in finding.detail
    there.config.write_text("parallel = [\n")
    (finding,) = checks.check_settings_in_force(there, in_force)
    assert finding.detail.startswith("the daemon goes by those of ")
    assert list(checks.check_settings_in_force(there, SettingsInForce())) == []


@pytest.mark.parametrize(
    ("machine", "release", "message"),
    [
        ("x86_64", "15.1", "it is made for Intel"),
        ("arm64", "13.6", "MLX needs macOS 14 or newer, and this is 13.6"),
        ("arm64", "14.0", None),
        ("arm64", "26.1", None),
    ],
)
def test_a_mac_that_mlx_cannot_run_on_is_told(
    ready_home: Home, monkeypatch: pytest.MonkeyPatch, machine: str, release: str, message: str | None
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "mac_ver", lambda: (release, ("", "", ""), machine))
    (finding,) = checks.check_python(ready_home)
    assert finding.level == ("ok" if message is None else "fail")
    assert message is None or message in finding.detail


@pytest.mark.parametrize(
    ("last_line", "remedy"),
    [
        ("[metal::load_device] No Metal device available", "virtual machines"),
        ("RuntimeError: Failed to load the default metallib", "install mlx-metal again"),
        ("ImportError: no", "uv tool install"),
    ],
)
def test_what_to_do_on_a_mac_goes_by_metals_words(monkeypatch: pytest.MonkeyPatch, last_line: str, remedy: str) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert remedy in checks.choose_device_remedy(last_line)


def test_folders_that_the_daemon_itself_may_not_read_are_told(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Terminal may read them, and with it this command: so the daemon is asked."""
    monkeypatch.setattr(checks, "list_documents", lambda: [tmp_path / "Documents", tmp_path])
    refused = {tmp_path / "Documents": "cannot be read by this prefd: allow python in Full Disk Access"}
    monkeypatch.setattr(daemon_api, "explain_unreadable", refused.get)
    with place.daemon():
        findings = [each for each in checks.check_daemon(place.home) if "Full Disk Access" in each.detail]
    assert [(each.level, each.detail) for each in findings] == [
        ("warn", f"{tmp_path}/Documents {refused[tmp_path / 'Documents']}")
    ]
