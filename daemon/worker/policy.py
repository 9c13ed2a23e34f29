"""The model that a job trains, from its spec to trainable layers; no weight is read before it is used.

Made once before precompute, to tell what cannot be trained before hours go into the reference, and again by training.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
from mlx import nn

from prefd.daemon.training_spec import TrainingSpec
from prefd.daemon.worker import models, output
from prefd.daemon.worker.fine_tune import FineTune, make_trainable
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.qat import QAT
from prefd.daemon.worker.sources import stored_dtype


@dataclass(frozen=True)
class Policy:
    """A model in training mode, frozen but for what is trained."""

    model: nn.Module
    fine_tune: FineTune
    qat: QAT

    @classmethod
    def of(cls, job: SpecifiedJob, training: TrainingSpec, steps: int) -> Policy:
        """The policy of `job`, which takes `steps` steps; its new adapter's values are those of the spec's seed.

        Raises `JobError` for what this model cannot be trained as, or written as.
        """
        mx.random.seed(training.seed)
        model = models.unread(job.policy)
        fine_tune = make_trainable(model, job.policy, training)
        output.check(job, model)
        stored = getattr(mx, models.DTYPES[stored_dtype(job.policy)])
        return cls(model, fine_tune, QAT.install(model, training.qat, stored, steps))
