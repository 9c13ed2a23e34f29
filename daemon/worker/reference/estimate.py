"""Explains what a job would need from the cache and what that would cost, for `prefd cache explain`; loads no model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

from prefd.cache.fingerprint import find_differences
from prefd.cache.store import ReferenceCache
from prefd.daemon.home.cache import open_cache
from prefd.daemon.home.layout import Home
from prefd.daemon.home.settings import Config
from prefd.daemon.runs.run_folder import RunDir
from prefd.daemon.runs.window_summary import WindowSummary
from prefd.daemon.specs.model_files import read_header
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.models import device, loading, memory
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.models.tiers import find_tier
from prefd.daemon.worker.reference.live_comparison import compare_live
from prefd.daemon.worker.reference.needed_completions import Needs
from prefd.daemon.worker.reference.pipeline_estimate import estimate_pipeline
from prefd.daemon.worker.reference.scoring_pass import BATCH_TOKENS, read_window_setting
from prefd.daemon.worker.reference.window_choice import choose_windows
from prefd.daemon.worker_tasks.answers import Explanation, NearReference
from prefd.daemon.worker_tasks.inputs import ExplainInput

MOST_DIFFERENCES = 3  # identity fields: a reference that differs in more is simply another one
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
EFFICIENCY = 0.4  # of the matrix-product rate, in a forward pass


def explain(home: Home, request: ExplainInput) -> Explanation:
    """Explain what the job of a spec would need, as `explain_job` does."""
    return explain_job(SpecifiedJob(home, request.spec))


def explain_job(job: SpecifiedJob) -> Explanation:
    """Explain what the job would need. No job or cache is made. Raises what a job's precompute phase would raise."""
    home = job.home
    needs = Needs.collect(job)
    cache = open_cache(home) if Config.load(home).cache_url or home.has_cache else None
    store = None if cache is None else cache.peek(job.fingerprint)
    keys = list(needs.completions)
    missing = keys if store is None else store.missing(keys)
    audit = needs.audit(missing)
    seconds, basis = estimate(home, job, audit.tokens_run)
    pipeline = estimate_pipeline(job, estimate_weights(job)) if audit.tokens_run else None
    windows = None if pipeline is not None else estimate_windows(job, audit.tokens_run)
    near = [] if cache is None else list(find_near_references(job, cache))
    near.sort(key=lambda reference: len(reference.differs))
    return Explanation(
        reference=job.reference.model,
        fingerprint=job.fingerprint.name,
        known=store is not None,
        **dict(audit),
        estimated_seconds=seconds,
        estimate_from=basis,
        windows=windows,
        pipeline=pipeline,
        live=compare_live(job, needs, missing, seconds),
        near=near,
        data=job.data.report.summarize(),
    )


def estimate_windows(job: SpecifiedJob, tokens: int) -> WindowSummary | None:
    """Say how the reference would run whose layers do not all fit, or are not all wanted, in memory; None where they are to be.

    Raises `JobError` for a reference that cannot be scored here. No weight is read.
    """
    window = read_window_setting(job.spec)
    if not tokens or (window is None and estimate_weights(job) <= memory.machine()[0]):
        return None
    model = loading.load_lazily(job.reference)
    windows = choose_windows(model, job.reference.model, window, BATCH_TOKENS[find_tier()])
    return None if windows is None else windows.summarize(-(-tokens // windows.chunk_tokens))


def estimate_weights(job: SpecifiedJob) -> int:
    """Estimate the bytes of the reference's weights in memory, from the headers of its files."""
    return count_parameters(job.reference) * BYTES[loading.compute_dtype(job.reference)]


def find_near_references(job: SpecifiedJob, cache: ReferenceCache) -> Iterator[NearReference]:
    """Find the references of `cache` that differ from the job's in one to three identity fields, with their names."""
    for info in cache.references():
        differs = find_differences(job.fingerprint.identity, info.identity)
        if 0 < len(differs) <= MOST_DIFFERENCES:
            yield NearReference(
                fingerprint=info.fingerprint,
                model=info.provenance.get("model"),
                entries=info.entries,
                differs=differs,
            )


def estimate(home: Home, job: SpecifiedJob, tokens: int) -> tuple[float, str]:
    """Estimate the seconds to run `tokens` through the reference, and say what that is based on."""
    if not tokens:
        return 0.0, "nothing is missing"
    rates = list(read_rates(home, job.fingerprint.name))
    if rates:
        return tokens / rates[-1], "an earlier pass of this reference here"
    flops = 2 * count_parameters(job.reference) * tokens
    flops_per_second = EFFICIENCY * measure_gflops_once() * 1e9
    return flops / flops_per_second, "the size of the model and this machine's matrix products"


@cache
def measure_gflops_once() -> float:
    """Measure how fast this machine multiplies matrices: once, as a process that is asked again and again need not."""
    return device.measure_gflops()


def read_rates(home: Home, fingerprint: str) -> Iterator[float]:
    """Read the tokens a second of every pass of this reference that the home's runs remember, oldest first."""
    for folder in sorted(home.runs.glob("*"), key=lambda path: path.stat().st_mtime):
        outcome = RunDir(folder).outcome("precompute")
        if outcome is None or outcome.summary.fingerprint != fingerprint:
            continue
        if outcome.summary.tokens_run and outcome.summary.scoring_seconds:
            yield outcome.summary.tokens_run / outcome.summary.scoring_seconds


def count_parameters(source: ModelSource) -> int:
    """Count the weights of the model, from the safetensors headers."""
    bits = (source.config().get("quantization") or {}).get("bits", 32)
    tensors = {name: header for path in source.weight_files for name, header in read_header(path).items()}
    return sum(
        math.prod(header["shape"]) * (32 if header["dtype"] == "U32" else bits) // bits
        for name, header in tensors.items()
        if not name.endswith((".scales", ".biases"))
    )
