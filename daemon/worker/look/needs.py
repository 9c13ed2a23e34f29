"""Says what a job would need: what of the reference is cached, how long the rest takes, and what training takes of memory."""

from __future__ import annotations

from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.models.memory import machine
from prefd.daemon.worker.reference.estimate import explain_job
from prefd.daemon.worker.training.sizing import Sizing, size_training
from prefd.daemon.worker_tasks.looks import ChosenBatchSettings, JobNeeds, MemoryNeeds


def find_needs(job: SpecifiedJob) -> JobNeeds:
    """Find what `job` would need. Raises what its phases would raise before they read a weight."""
    explanation = dict(explain_job(job))
    if job.spec.training is None:
        return JobNeeds(**explanation, needs_reference=True, memory=None, batches=None)
    sizing = size_training(job)
    return JobNeeds(
        **explanation,
        needs_reference=job.loss.needs_reference,
        memory=_describe_memory(sizing),
        batches=_describe_batches(job, sizing),
    )


def _describe_memory(sizing: Sizing) -> MemoryNeeds:
    estimate, (total, free) = sizing.estimate, machine()
    return MemoryNeeds(
        weights=estimate.weights,
        optimizer=estimate.optimizer,
        gradients=estimate.gradients,
        activations=estimate.activations,
        kept=estimate.kept,
        total=estimate.total,
        tokens=estimate.tokens,
        machine=total,
        free=free,
        warning=sizing.warning,
    )


def _describe_batches(job: SpecifiedJob, sizing: Sizing) -> ChosenBatchSettings:
    settings = sizing.settings
    return ChosenBatchSettings(
        batch_tokens=settings.batch_tokens if job.loss.batch_independent else None,
        grad_checkpoint=settings.grad_checkpoint,
        chunk_tokens=settings.chunk_tokens,
        usual=sizing.usual,
        steps=sizing.schedule.total_steps,
        steps_per_epoch=sizing.schedule.steps_per_epoch,
    )
