"""Builds the model that a client trains: the base model with a new LoRA adapter in mlx-lm's words."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass

import mlx.core as mx
from mlx import nn
from mlx.optimizers import AdamW

from prefd.daemon.specs.training_spec import LoraSpec, TrainingSpec
from prefd.daemon.worker.live.adapted_modules import choose_modules
from prefd.daemon.worker.models import loading, memory
from prefd.daemon.worker.models.fine_tune import FineTune, make_trainable
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.training.optimizer import make_optimizer
from prefd.daemon.worker_tasks.live_requests import AdamParams, LiveLora, LiveSession

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LivePolicy:
    """LivePolicy is a model in training mode, frozen but for its adapter, with the optimizer that trains it."""

    model: nn.Module
    fine_tune: FineTune
    optimizer: AdamW
    notes: list[str]
    """What the client may not expect, in sentences."""

    @classmethod
    def build(cls, source: ModelSource, session: LiveSession, lora: LiveLora) -> LivePolicy:
        """Build the policy that `session` begins with. Raises `JobError` where this model cannot be trained so."""
        seed = make_seed(session, lora)
        mx.random.seed(seed)  # here, as a job does: the same seed gives the same adapter
        model = loading.load_lazily(source)
        memory.check_weights(model, source.model)
        keys, notes = choose_modules(model, lora)
        training = TrainingSpec(
            lora=LoraSpec(rank=lora.rank, scale=lora.alpha / lora.rank, keys=keys), optimizer="adamw", seed=seed
        )
        fine_tune = make_trainable(model, source, training)
        mx.eval(model.parameters())
        optimizer = make_optimizer(training, 1, model)
        assert isinstance(optimizer, AdamW)  # an adapter's weights are float32 and need no copies
        policy = cls(model, fine_tune, optimizer, notes)
        policy.reset_optimizer()
        for note in notes:
            log.warning("%s", note)
        return policy

    def reset_optimizer(self) -> None:
        """Have the optimizer begin anew: no step taken, and moments of zero."""
        self.optimizer.state = {"step": mx.array(0, mx.uint64), "learning_rate": self.optimizer.learning_rate}
        self.optimizer.init(self.model.trainable_parameters())


def make_seed(session: LiveSession, lora: LiveLora) -> int:
    """Return the seed of the adapter's first values: the client's, or one made from the model's id."""
    if lora.seed is not None:
        return lora.seed % 2**32
    return int.from_bytes(hashlib.sha256(session.model_id.encode()).digest()[:4], "big")


def take_settings(optimizer: AdamW, params: AdamParams) -> None:
    """Have the next step of AdamW take the settings that the client gave for it."""
    optimizer.learning_rate = params.learning_rate
    optimizer.betas = [params.beta1, params.beta2]
    optimizer.eps = params.eps
    optimizer.weight_decay = params.weight_decay
