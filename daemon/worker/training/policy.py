"""Builds the model that a job trains, from its spec to trainable layers; no weight is read before it is used.

It is built once before precompute, to tell what cannot be trained before hours go into the reference, and again by training.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
from mlx import nn

from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.fine_tune import FineTune, make_trainable
from prefd.daemon.worker.models.source import stored_dtype
from prefd.daemon.worker.outputs import outputs
from prefd.daemon.worker.training.qat import QAT


@dataclass(frozen=True)
class Policy:
    """Policy is a model in training mode, frozen but for what is trained."""

    model: nn.Module
    fine_tune: FineTune
    qat: QAT

    @classmethod
    def build(cls, job: SpecifiedJob, training: TrainingSpec, steps: int) -> Policy:
        """Build the policy of `job`, which takes `steps` steps; its new adapter's values are those of the spec's seed.

        Raises `JobError` where this model cannot be trained so, or its outputs not be written.
        """
        mx.random.seed(training.seed)
        model = loading.load_lazily(job.policy)
        fine_tune = make_trainable(model, job.policy, training)
        outputs.check(job, model)
        stored = getattr(mx, loading.DTYPES[stored_dtype(job.policy)])
        return cls(model, fine_tune, QAT.install(model, training.qat, stored, steps))
