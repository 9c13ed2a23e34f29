"""Serves `GET /v1/metrics`: the daemon's status as Prometheus reads it (text, prometheus_client's)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import psutil
from starlette.requests import Request
from starlette.responses import Response

from prefd.daemon.control.api.endpoint import Controlled, Endpoint
from prefd.daemon.control.status import ActiveJob, Status
from prefd.daemon.home.layout import Home
from prefd.daemon.machine.files import read_end
from prefd.daemon.runs.run_folder import RunDir, is_evaluation, parse_row
from prefd.plugins.metrics import METRICS

if TYPE_CHECKING:
    from prometheus_client import Metric

LAST_BYTES = 65_536
"""Of metrics.jsonl: its last line is in there."""


def list_endpoints(daemon: Controlled, streams: Callable[[], int]) -> Sequence[Endpoint]:
    """Lists the endpoint of the metrics. `streams` counts the clients that listen to events."""

    async def metrics(request: Request) -> Response:
        from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected(list(collect(daemon.status(), streams(), daemon.home))))
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    return [
        Endpoint(
            "GET",
            "/v1/metrics",
            "The daemon and what it runs, for Prometheus",
            metrics,
            "Prometheus' text format, version 0.0.4",
            media="text/plain",
            of_daemon=True,
        )
    ]


class _Collected:
    """A registry collects from this: it holds metrics that are measured already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self.families = families

    def collect(self) -> Iterator[Metric]:
        yield from self.families


def collect(status: Status, streams: int, home: Home) -> Iterator[Metric]:
    """Yields the daemon's status, how many clients listen to its events, and the numbers of the jobs that run."""
    from prometheus_client.core import GaugeMetricFamily

    def gauge(name: str, description: str, value: float | None) -> Iterator[Metric]:
        if value is not None:
            yield GaugeMetricFamily(name, description, value=value)

    def labelled(name: str, description: str, label: str, values: Mapping[str, float]) -> Metric:
        family = GaugeMetricFamily(name, description, labels=[label])
        for key, value in values.items():
            family.add_metric([key], value)
        return family

    yield labelled("prefd_info", "Version of the daemon", "version", {status.version: 1})
    yield from gauge("prefd_uptime_seconds", "Seconds since the daemon started", status.uptime_s)
    yield labelled("prefd_jobs", "Jobs by state", "state", {str(state): count for state, count in status.jobs.items()})
    yield from gauge("prefd_queue_paused", "1 while no job is started", status.queue.paused_at is not None)
    yield from gauge("prefd_event_streams", "Clients of /v1/events", streams)
    watcher, catalog = status.watcher, status.catalog
    yield labelled("prefd_watcher_mode", "How the folder is watched", "mode", {watcher.mode: 1})
    yield from gauge("prefd_watcher_failing", "1 while file events are missing", watcher.error is not None)
    for name, event, moment in (
        ("last_event", "the last file event", watcher.last_event),
        ("last_rescan", "the last look at the folder", watcher.last_rescan),
    ):
        yield from gauge(f"prefd_watcher_{name}_timestamp_seconds", f"Unix time of {event}", moment)
    yield from gauge("prefd_losses", "Losses that jobs can name", catalog.losses)
    yield from gauge("prefd_catalog_failing", "1 while the losses cannot be listed", catalog.error is not None)
    yield from _collect_jobs(status.active, home)
    yield from _collect_process()


def _collect_jobs(active: Sequence[ActiveJob], home: Home) -> Iterator[Metric]:
    """Yields how far the running jobs are, and the newest numbers of those that train."""
    from prometheus_client.core import GaugeMetricFamily

    of_job = ["job", "name"]
    running = GaugeMetricFamily("prefd_job_running", "Jobs that run, by state", labels=[*of_job, "state"])
    done_units = GaugeMetricFamily(
        "prefd_job_done", "Units done of the running phase", labels=[*of_job, "phase", "unit"]
    )
    total_units = GaugeMetricFamily("prefd_job_total", "Units of the running phase", labels=[*of_job, "phase", "unit"])
    eta = GaugeMetricFamily("prefd_job_eta_seconds", "Seconds the running phase still takes", labels=of_job)
    steps = {each.name: GaugeMetricFamily(*each.gauge, labels=of_job) for each in METRICS.values() if each.gauge}
    for job in active:
        labels = [str(job.id), job.name]
        running.add_metric([*labels, job.state], 1)
        if (progress := job.progress) is not None:
            of_phase = [*labels, progress.phase, progress.unit]
            done_units.add_metric(of_phase, progress.done)
            total_units.add_metric(of_phase, progress.total)
            if progress.eta_s is not None:
                eta.add_metric(labels, progress.eta_s)
        row = read_last_report(RunDir(home.job(job.id))) if job.state == "training" else {}
        for key in steps.keys() & row.keys():
            steps[key].add_metric(labels, row[key])
    yield from (running, done_units, total_units, eta, *steps.values())


def _collect_process() -> Iterator[Metric]:
    """Yields this process's numbers, by the names that Prometheus' own clients give."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    me = psutil.Process()
    with me.oneshot():
        times, memory = me.cpu_times(), me.memory_info()
        yield CounterMetricFamily("process_cpu_seconds", "CPU time spent", value=times.user + times.system)
        yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory", value=memory.rss)
        yield GaugeMetricFamily("process_virtual_memory_bytes", "Virtual memory", value=memory.vms)
        yield GaugeMetricFamily("process_start_time_seconds", "Unix time of the start", value=me.create_time())
        yield GaugeMetricFamily("process_open_fds", "Open file descriptors", value=me.num_fds())


def read_last_report(run: RunDir) -> dict[str, float]:
    """Reads the newest row of training in metrics.jsonl; empty where there is none."""
    try:
        with run.metrics.open("rb") as file:
            data, _ = read_end(file, LAST_BYTES)
    except OSError:
        return {}
    for line in reversed(data.split(b"\n")[:-1]):  # the last one is empty, or cut
        row = parse_row(line)
        if row and not is_evaluation(row):
            return {key: value for key, value in row.items() if isinstance(value, int | float)}
    return {}
