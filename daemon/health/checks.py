"""Checks what `prefd doctor` reports. Each check yields findings, never an exception; none of them imports mlx here."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from packaging.requirements import Requirement

from prefd.daemon.control.status import SettingsInForce
from prefd.daemon.health.condition_checks import check_memory, check_power
from prefd.daemon.health.finding import HealthFinding
from prefd.daemon.health.home_checks import check_disk, check_home
from prefd.daemon.health.host_checks import check_hosts
from prefd.daemon.health.machine_checks import check_limits, check_service, check_socket, check_watch
from prefd.daemon.health.page_checks import check_page
from prefd.daemon.home import lock
from prefd.daemon.home.changed_settings import describe_differences
from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, ConfigError
from prefd.daemon.jobs.table import JobTable, JobTableError, Unreadable
from prefd.daemon.machine import blas
from prefd.daemon.machine.interpreter import UTF8_STREAMS, WORKER
from prefd.daemon.machine.owners import explain_rights
from prefd.daemon.machine.readability import list_documents
from prefd.daemon.runs.snapshot import list_versions
from prefd.daemon.specs.catalog import CatalogError
from prefd.daemon.specs.catalog_listing import load_catalog
from prefd.daemon.text.sizes import format_size
from prefd.daemon.text.times import format_clock, format_duration
from prefd.daemon.text.version_skew import describe_skew
from prefd.daemon.text.wording import pluralize
from prefd.daemon.timing import USUAL, Timing
from prefd.daemon.worker_tasks.answers import DeviceAnswer

PACKAGES = ("mlx", "mlx-lm", "zarr", "numpy", "datasets", "pydantic", "watchfiles", "starlette", "uvicorn", "click")
SLOW_GFLOPS = 20.0  # the reference BLAS gives about 4, a fast one over 100, on any machine of this decade

T = TypeVar("T")


def check_python(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Names the Python and the machine."""
    description = f"{platform.python_version()} on {platform.system()} {platform.machine()} ({sys.executable})"
    if sys.platform == "darwin" and (reason := explain_unsuitable_mac()) is not None:
        yield HealthFinding("fail", "python", f"{description}: {reason}", "docs/mac.md")
        return
    yield HealthFinding("ok", "python", description)


def explain_unsuitable_mac() -> str | None:
    """Says why MLX cannot run on this Mac, or in this Python; None where it can."""
    if platform.machine() != "arm64":
        return "it is made for Intel: MLX needs Apple silicon, and a Python for arm64, which one under Rosetta is not"
    release = platform.mac_ver()[0]
    major = release.partition(".")[0]
    return f"MLX needs macOS 14 or newer, and this is {release}" if major.isdecimal() and int(major) < 14 else None


def choose_device_remedy(last_line: str) -> str:
    """Chooses what to do where MLX does not work, by the last words of the worker that tried it."""
    if sys.platform != "darwin":
        return "install prefd with the extra for this machine: prefd[cpu] or prefd[cuda] on Linux"
    if "metallib" in last_line:
        return "install mlx-metal again, of the same version as mlx: pip install --force-reinstall mlx mlx-metal"
    if "Metal device" in last_line:
        return "Metal is not to be had in most virtual machines, nor over ssh without a login at the screen"
    return "install prefd again: uv tool install --force prefd"


def check_packages(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Checks that what prefd needs is installed, in versions that it was made for."""
    installed = [f"prefd {metadata.version('prefd')}"]
    problems = []
    for requirement in map(Requirement, metadata.requires("prefd") or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            problems.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{requirement.name} is {version}, and prefd needs {requirement.specifier}")
        if requirement.name in PACKAGES:
            installed.append(f"{requirement.name} {version}")
    if problems:
        yield HealthFinding("fail", "packages", "; ".join(problems), "install prefd again in this environment")
    else:
        yield HealthFinding("ok", "packages", ", ".join(installed))


CHOSEN = {name: f', by worker.device = "{name}" in config.toml' for name in ("cpu", "gpu")}
"""What is said of a device that the settings name."""


def check_device(home: Home, timing: Timing = USUAL, worker: Sequence[str] = WORKER) -> Iterator[HealthFinding]:
    """Measures the device that jobs compute on, in a worker because that means importing mlx."""
    try:
        settings = HandedSettings.from_config(Config.load(home), home)
    except ConfigError:  # check_config tells of it
        settings = HandedSettings()
    try:
        child = subprocess.run(
            [*worker, "device"],
            check=False,
            capture_output=True,
            encoding="utf-8",
            env=os.environ | UTF8_STREAMS | settings.environment(),
            timeout=timing.device_check,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        yield HealthFinding(
            "fail", "device", f"no answer within {timing.device_check:g} s", f"try it: {shlex.join(worker)} device"
        )
        return
    try:
        device = DeviceAnswer.model_validate_json(child.stdout)
    except ValueError:
        last_line = (child.stderr.strip().splitlines() or ["nothing"])[-1]
        remedy = choose_device_remedy(last_line)
        yield HealthFinding(
            "fail", "device", f"MLX does not work here (exit code {child.returncode}): {last_line}", remedy
        )
        return
    yield HealthFinding(
        "ok",
        "device",
        f"{device.device} ({device.device_name}{CHOSEN.get(settings.device, '')}): {device.gflops:.0f} GFLOP/s in float32",
    )
    if not blas.is_wanted():
        return
    if device.blas is None:
        yield HealthFinding("warn", "BLAS", "none but MLX's own, which is about 40 times slower", blas.INSTALL)
    elif device.gflops < SLOW_GFLOPS:
        yield HealthFinding("warn", "BLAS", f"{device.blas} is loaded, and slow all the same", "is the machine busy?")
    else:
        yield HealthFinding("ok", "BLAS", device.blas)


def check_config(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Checks that config.toml can be read."""
    try:
        Config.load(home)
    except ConfigError as error:
        yield HealthFinding("fail", "config", str(error), f"edit {home.config}")
        return
    yield HealthFinding(
        "ok", "config", str(home.config) if home.config.exists() else "no config.toml: every default holds"
    )


def check_worker(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Names the workers' limits, and what is doubtful about them."""
    try:
        limits = Config.load(home).worker
    except ConfigError:  # told by check_config
        return
    yield HealthFinding(
        "ok", "workers", limits.describe() or "no limits: [worker] in config.toml sets cpus, memory and nice"
    )
    for doubt in limits.doubts():
        yield HealthFinding("warn", "workers", doubt, f"edit [worker] in {home.config}")


def check_plugins(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Checks that every plugin can be loaded."""
    try:
        catalog = load_catalog(home, anew=True)
    except (CatalogError, ConfigError) as error:
        yield HealthFinding("fail", "plugins", str(error), "prefd plugins")
        return
    for plugin in catalog.plugins:
        if plugin.error:
            remedy = f"repair or remove it ({plugin.source}); only jobs that need it fail"
            yield HealthFinding("fail", "plugins", f"{plugin.name} could not be loaded: {plugin.error}", remedy)
    working = [plugin for plugin in catalog.plugins if not plugin.error]
    formats = sum(len(plugin.formats) for plugin in working)
    names = ", ".join(plugin.name for plugin in working)
    yield HealthFinding("ok", "plugins", f"{names}: {len(catalog.losses)} losses and {formats} row formats")


def check_jobs(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Checks the job database, and counts its jobs by state."""
    try:
        with JobTable.open_readonly(home.database) as jobs:
            jobs.check()
            counts = jobs.counts()
    except Unreadable as error:
        remedy = "prefd start: it sets the database aside and rebuilds it from runs/; a daemon that runs does so within seconds"
        yield HealthFinding("fail", "jobs", f"{home.database}: {error.why}", remedy)
        return
    except JobTableError as error:
        yield HealthFinding(
            "fail", "jobs", str(error), "look at the file's rights, the disk, and whether prefd is up to date"
        )
        return
    detail = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    size = f"; {format_size(home.database.stat().st_size)}, whole" if home.database.exists() else ""
    yield HealthFinding("ok", "jobs", (detail or "none yet") + size)


def check_daemon(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Checks that the daemon that holds the home answers, and that it can watch its folder."""
    from prefd.daemon.control.foreign_daemon import find_foreign_daemon

    if (foreign := find_foreign_daemon(home)) is not None:
        yield HealthFinding("warn", "daemon", foreign.problem, foreign.command)
        return
    holder = lock.find_holder(home)
    if holder is None:
        yield HealthFinding("ok", "daemon", "not running (prefd start --detach)")
        return
    from prefd.daemon.control.client import Client, DaemonNotRunning
    from prefd.daemon.control.control_error import ControlError

    try:
        client = Client(home)
        status = client.status()
    except (DaemonNotRunning, ControlError) as error:
        remedy = f"look at {home.log}; end it with `kill {holder.pid}`"
        yield HealthFinding("fail", "daemon", f"pid {holder.pid} holds the home and does not answer: {error}", remedy)
        return
    yield HealthFinding("ok", "daemon", f"running, pid {status.pid}, up {format_duration(status.uptime_s)}")
    yield from check_versions(status.version, status.versions)
    yield from check_settings_in_force(home, status.settings)
    if status.queue.waits_for:
        yield HealthFinding("warn", "queue", status.queue.waits_for, "put that right; no job is lost meanwhile")
    for folder in list_documents():
        if (reason := client.explain_unreadable(folder)) is not None:
            detail = f"{folder} {reason}"
            yield HealthFinding("warn", "daemon", detail, "needed only where models or data lie there")
    if status.watcher.error:
        yield HealthFinding("warn", "watcher", status.watcher.error, "jobs/ is polled meanwhile")
    if status.watcher.folder:
        yield HealthFinding("fail", "folder", status.watcher.folder, "mount it, or give yourself the right to it")


def check_versions(version: str, versions: Mapping[str, str]) -> Iterator[HealthFinding]:
    """Compares the versions that the daemon was started with, with those that are installed now."""
    if skew := describe_skew(version):
        yield HealthFinding("warn", "versions", skew.partition(": ")[0], "prefd stop && prefd start --detach")
    now = list_versions()
    for name in sorted(versions.keys() - {"prefd"}):
        if now.get(name) != versions[name]:
            detail = f"{name} was {versions[name]} when the daemon was started, and is {now.get(name, 'not installed')}"
            yield HealthFinding("warn", "versions", f"{detail}: jobs that start now use that")


def check_settings_in_force(home: Home, settings: SettingsInForce) -> Iterator[HealthFinding]:
    """Compares the settings that the daemon goes by with those in config.toml."""
    if not settings.values:  # of an earlier version
        return
    try:
        differences = describe_differences(settings.values, Config.load(home).model_dump())
    except ConfigError:  # told by check_config
        detail = f"the daemon goes by those of {format_clock(settings.read_at)}"
        yield HealthFinding("warn", "settings", detail, f"edit {home.config}")
        return
    if differences:
        detail = f"{home.config} is not taken up yet: {'; '.join(differences)}"
        yield HealthFinding("warn", "settings", detail, "wait some seconds, or send the daemon SIGHUP")
    else:
        changed = ", ".join(settings.changed)
        yield HealthFinding("ok", "settings", f"the daemon goes by {changed or 'the defaults'}")


def check_cache(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Checks that the cache can be read, and names its damaged parts."""
    from prefd.cache.store import NotACache, ReferenceCache

    if not home.has_cache:
        yield HealthFinding("ok", "cache", "empty")
        return
    try:
        references = ReferenceCache.open(home.cache).references()
    except PermissionError as error:
        yield HealthFinding("fail", "cache", f"{error.filename} may not be read", "give this user the right to read it")
        return
    except (NotACache, OSError) as error:
        yield HealthFinding("fail", "cache", str(error), f"move {home.cache} away; it is filled again as jobs run")
        return
    entries, segments = (sum(getattr(info, name) for info in references) for name in ("entries", "segments"))
    total = format_size(sum(info.bytes for info in references))
    counts = [(len(references), "reference"), (segments, "segment"), (entries, "completion")]
    yield HealthFinding("ok", "cache", ", ".join([*(pluralize(count, noun) for count, noun in counts), total]))
    for info in references:
        if info.damaged:
            detail = f"{pluralize(len(info.damaged), 'damaged part')} of {info.fingerprint[:12]}"
            yield HealthFinding(
                "warn", "cache", detail, "nothing to do: what it held is scored again when a job needs it"
            )


def check_shared_cache(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Checks that the shared cache answers, where config.toml names one."""
    try:
        url = Config.load(home).cache_url
    except ConfigError:  # told by check_config
        return
    if not url:
        return
    from prefd.cache.shared.bucket import Bucket, CannotShare, first_line

    try:
        bucket = Bucket(url)
    except CannotShare as error:
        yield HealthFinding("fail", "shared", str(error), f"edit cache_url in {home.config}")
        return
    remedy = "look at cache_url, the network and the AWS_… variables; until then jobs use and fill the cache here alone"
    try:
        count = len(_run_within(timing.bucket_check, lambda: bucket.list_folders("refs")))
    except TimeoutError:
        yield HealthFinding("warn", "shared", f"{url} gave no answer within {timing.bucket_check:g} s", remedy)
    except bucket.errors as error:
        yield HealthFinding("warn", "shared", f"{url}: {first_line(error)}", remedy)
    else:
        yield HealthFinding("ok", "shared", f"{url} answers: {pluralize(count, 'reference')}")


def _run_within(seconds: float, action: Callable[[], T]) -> T:
    """Runs `action`, given up after `seconds`: an object store's client tries again for minutes. Raises TimeoutError."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(action())
        except Exception as error:  # noqa: BLE001  # whatever it is, it is raised by `result`
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()  # of a pool's, the process would wait for the end
    return future.result(seconds)


CHECKS: tuple[Callable[[Home, Timing], Iterator[HealthFinding]], ...] = (
    check_python,
    check_packages,
    check_device,
    check_home,
    check_disk,
    check_config,
    check_worker,
    check_power,
    check_memory,
    check_plugins,
    check_jobs,
    check_watch,
    check_limits,
    check_socket,
    check_daemon,
    check_service,
    check_page,
    check_cache,
    check_shared_cache,
    check_hosts,
)


def run_checks(home: Home, timing: Timing = USUAL) -> Iterator[HealthFinding]:
    """Runs every check, and yields each finding as it is made."""
    for check in CHECKS:
        try:
            yield from check(home, timing)
        except OSError as error:  # of a home that is closed to this user, most likely
            place = error.filename or home.root
            detail = f"{place}: {error.strerror or error}{explain_rights(Path(os.fsdecode(place)))}"
            yield HealthFinding("fail", check.__name__.removeprefix("check_"), detail)
