"""Tries the machines that config.toml lists for jobs of several ranks: whether ssh reaches them, what they have, and how fast the link is."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from prefd.daemon.health.finding import HealthFinding
from prefd.daemon.home.handed_settings import HandedSettings
from prefd.daemon.home.hosts import Host, is_here
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config, ConfigError
from prefd.daemon.jobs.table import JobTable, JobTableError
from prefd.daemon.machine.interpreter import UTF8_STREAMS, WORKER
from prefd.daemon.machine.processes import describe_exit, find_last_words
from prefd.daemon.timing import USUAL, Timing
from prefd.daemon.worker_tasks.host_trials import HostTrial, TrialFinding

MOST_MODELS = 3
"""Models of waiting jobs that are compared: each is read whole the first time."""


def check_hosts(home: Home, timing: Timing = USUAL, worker: Sequence[str] = WORKER) -> Iterator[HealthFinding]:
    """Tries each machine that ranks may run on: ssh, versions, models, a sum, and the link's speed."""
    try:
        settings = HandedSettings.from_config(Config.load(home), home)
    except ConfigError:  # told by check_config
        return
    try:
        hosts = settings.list_hosts()
    except ConfigError as error:
        yield HealthFinding("fail", "hosts", str(error), f"edit [distributed] in {home.config}")
        return
    others = {host.ssh: host for index, host in enumerate(hosts) if not is_here(hosts, index)}
    if not others:
        return
    models = list_models(home)
    if not models:
        yield HealthFinding("ok", "hosts", "no job of several ranks waits: no model is compared")
    for host in others.values():
        yield from try_host(home, settings, HostTrial(own=hosts[0], host=host, models=models), timing, worker)


def list_models(home: Home) -> list[str]:
    """List the model folders of the jobs of several ranks that have not ended, some of them."""
    try:
        with JobTable.open_readonly(home.database) as jobs:
            specs = [jobs.find_spec(job.id) for job in jobs.list() if not job.ended]
    except JobTableError:  # told by check_jobs
        return []
    wanted = dict.fromkeys(spec.model for spec in specs if spec and spec.ranks != 1 and Path(spec.model).is_dir())
    return list(wanted)[:MOST_MODELS]


def try_host(
    home: Home, settings: HandedSettings, trial: HostTrial, timing: Timing, worker: Sequence[str]
) -> Iterator[HealthFinding]:
    """Tries one machine, in a worker because that means importing mlx, and because its ring may wait without an end."""
    name, command = trial.host.ssh, [*worker, "try-host", "--home", str(home.root)]
    try:
        child = subprocess.run(
            command,
            check=False,
            capture_output=True,
            encoding="utf-8",
            input=trial.model_dump_json(),
            env=os.environ | UTF8_STREAMS | settings.environment(),
            timeout=timing.host_check,
        )
        output, end = child.stdout, describe_exit(child.returncode) if child.returncode else ""
        words = find_last_words(child.stderr)
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        end, words = f"no end within {timing.host_check:g} s", ""
    findings = [TrialFinding.model_validate_json(line) for line in output.splitlines() if '"level"' in line]
    for each in findings:
        yield HealthFinding(each.level, "host", f"{name}: {each.detail}", each.remedy)
    if end and not any(each.level == "fail" for each in findings):
        yield HealthFinding("fail", "host", f"{name}: {words or end}", f"try it: {suggest_command(trial.host)}")


def suggest_command(host: Host) -> str:
    """Suggests what to type to see for oneself whether ssh works without a password."""
    return shlex.join(["ssh", "-o", "BatchMode=yes", host.ssh, "true"])
