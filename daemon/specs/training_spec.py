"""TrainingSpec says how a policy is trained: frozen, typed objects, and what cannot be asked for together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from prefd.daemon.specs.optimizer import (
    BestCheckpointSpec,
    EarlyStoppingSpec,
    OptimizerConfig,
    OptimizerName,
    ScheduleSpec,
    WatchedMetric,
    optimizer_settings,
    weight_decay_faults,
)
from prefd.daemon.text.strict_model import Fault, SpecModel, Text, refuse


class LoraSpec(SpecModel):
    """mlx-lm's `lora_parameters`."""

    rank: int = Field(8, ge=1, description="of the adapter's matrices")
    scale: float = Field(20.0, gt=0, description="what the adapter's product is multiplied by")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the adapter's inputs left out in a step")
    keys: list[Text] | None = Field(
        None, min_length=1, description="modules to adapt, by the end of their names; default: every linear layer"
    )


class QuantizeSpec(SpecModel):
    """Quantizes the policy's weights at load."""

    bits: Literal[2, 3, 4, 5, 6, 8] = Field(4, description="of a quantized weight")
    group_size: Literal[32, 64, 128] = Field(64, description="weights that share a scale")


class QATSpec(SpecModel):
    """Quantization-aware training: steps see the weights as quantizing the fused model will round them."""

    bits: Literal[2, 3, 4, 5, 6, 8] = Field(4, description="of a weight as it will be quantized")
    group_size: Literal[32, 64, 128] = Field(64, description="weights that will share a scale")
    start_step: int = Field(0, ge=0, description="optimizer steps on unrounded weights before it begins")


class TrainingSpec(SpecModel):
    """Says how the policy is trained. Left out, the job only fills the cache."""

    fine_tune: Literal["lora", "dora", "full"] = Field("lora", description="an adapter, or every weight")
    lora: LoraSpec = Field(LoraSpec(), description="the adapter, of lora and dora")
    num_layers: int = Field(-1, ge=-1, description="train the last N layers; -1: all")
    quantize: QuantizeSpec | None = Field(None, description="quantize the policy's weights at load (QLoRA)")
    qat: QATSpec | None = Field(None, description="train for being quantized afterwards")
    optimizer: OptimizerName = Field("adamw", description="MLX's optimizer of this name")
    optimizer_config: dict[str, Any] = Field(
        {}, description="what this optimizer takes, such as betas and eps", examples=[{"betas": [0.9, 0.98]}]
    )
    learning_rate: float = Field(1e-5, gt=0, description="of every step, unless lr_schedule says more")
    lr_schedule: ScheduleSpec | None = Field(None, description="default: the same learning rate at every step")
    weight_decay: float = Field(0.0, ge=0, description="decoupled, as the optimizer has it; adam has none")
    max_grad_norm: float | None = Field(None, gt=0, description="clip the gradient's global norm; default: no clipping")
    batch_size: int = Field(4, ge=1, description="pairs in a micro-batch")
    gradient_accumulation_steps: int = Field(1, ge=1, description="micro-batches in one optimizer step")
    batch_tokens: int | None = Field(
        None,
        ge=1,
        description="tokens run at once; a step's pairs are cut to fit; default: 1,024 on a CPU, 2,048 to 4,096 on a Mac, 16,384 on CUDA",
    )
    compute_dtype: Literal["model", "float32"] = Field(
        "model",
        description="what passes compute in on a GPU: the type of the model's own weights, or float32, for the policy and the "
        "reference; a CPU always computes in float32",
    )
    compile: Literal["auto"] | bool = Field(
        "auto",
        description="compile the optimizer's step and the adding up of gradients, and build a batch's graph while the one before "
        "runs; auto: on a GPU",
    )
    chunk_tokens: int = Field(4096, ge=16, description="longer prompts and answers run in pieces of this size, exactly")
    grad_checkpoint: bool = Field(False, description="a quarter of the activations' memory for 1.4 times the time")
    epochs: float | None = Field(None, gt=0, le=1_000_000, description="passes over the data; default 1")
    iters: int | None = Field(None, ge=1, description="optimizer steps, instead of epochs")
    steps_per_report: int = Field(1, ge=1, description="optimizer steps between lines of metrics.jsonl")
    token_metrics: bool = Field(
        False,
        description="log entropy, logits/chosen and logits/rejected too, as TRL does; cheap on a CPU, a pass over the logits more on a GPU",
    )
    steps_per_eval: int | None = Field(None, ge=1, description="default: once an epoch, and at the end")
    save_every: int = Field(100, ge=1, description="optimizer steps between checkpoints")
    save_minutes: float = Field(10.0, gt=0, description="minutes after which a checkpoint is saved too")
    keep_checkpoints: int = Field(2, ge=1, description="the newest ones; older ones are removed")
    best_checkpoint: BestCheckpointSpec | None = Field(None, description="keep the best one too, by this metric")
    load_best_model_at_end: bool = Field(False, description="the adapter is the best checkpoint's, not the last one's")
    early_stopping: EarlyStoppingSpec | None = Field(None, description="end when the held-out pairs stop improving")
    seed: int = Field(0, ge=0, lt=2**32, description="of the order of the pairs, new weights and dropout")

    @model_validator(mode="before")
    @classmethod
    def take_rate_from_schedule(cls, value: Any) -> Any:
        """Takes the job's learning rate from a schedule whose arguments begin with one, as mlx-lm does."""
        match value:
            case {"lr_schedule": {"arguments": [int() | float() as rate, *_]}} if "learning_rate" not in value:
                return value | {"learning_rate": rate} if rate > 0 else value
        return value

    @field_validator("optimizer_config")
    @classmethod
    def check_optimizer_config(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Refuses settings that the optimizer does not take."""
        if "optimizer" in info.data:  # otherwise that is the fault to tell
            optimizer_settings(info.data["optimizer"], value)
        return value

    @model_validator(mode="after")
    def check_consistency(self) -> Self:
        """Refuses settings that contradict each other."""
        refuse([*self._optimization_faults(), *self._fine_tune_faults(), *self._qat_faults()])
        return self

    def _optimization_faults(self) -> Iterator[Fault]:
        yield from weight_decay_faults(self.optimizer, self.weight_decay)
        if self.epochs is not None and self.iters is not None:
            yield ("iters",), "give training.epochs or training.iters, not both", self.iters
        if self.lr_schedule is not None:
            yield from self.lr_schedule.faults_with(self.learning_rate, self.iters)
        evaluations = self._count_evaluations()
        if self.early_stopping is not None and evaluations is not None:
            message = self.early_stopping.too_few(evaluations)
            yield from [(("early_stopping",), message, self.early_stopping)] if message else []

    def _fine_tune_faults(self) -> Iterator[Fault]:
        if self.num_layers == 0:
            yield ("num_layers",), "0 layers is to train nothing; -1 is all of them", 0
        if self.fine_tune == "full" and self.lora != LoraSpec():
            yield ("lora",), "training.fine_tune is full, which trains no adapter; leave it out", self.lora
        if self.quantize is None:
            return
        if self.fine_tune == "full":
            message = "quantized weights cannot be trained in full; use training.fine_tune lora or dora"
            yield ("quantize",), message, self.quantize
        elif self.fine_tune == "dora" and 32 % self.quantize.bits:
            message = f"mlx-lm's DoRA cannot adapt weights of {self.quantize.bits} bits; use 2, 4 or 8, or training.fine_tune lora"
            yield ("quantize", "bits"), message, self.quantize.bits

    def _qat_faults(self) -> Iterator[Fault]:
        if self.qat is None:
            return
        if self.quantize is not None:
            message = "weights that training.quantize has quantized at load are rounded already; give one of the two"
            yield ("qat",), message, self.qat
        if self.fine_tune != "full" and self.lora.dropout:
            message = "training.qat rounds base and adapter as one weight, of which no part can be dropped; set it to 0"
            yield ("lora", "dropout"), message, self.lora.dropout
        if self.iters is not None and self.qat.start_step >= self.iters:
            message = f"the job has {self.iters} steps (training.iters), so no step would be rounded after step"
            yield ("qat", "start_step"), f"{message} {self.qat.start_step}", self.qat.start_step

    def _count_evaluations(self) -> int | None:
        """Counts the evaluations of the job; None where the number of pairs decides."""
        if self.iters is not None and self.steps_per_eval is not None:
            return math.ceil(self.iters / self.steps_per_eval)
        return math.ceil(self.epochs or 1) if self.iters is None and self.steps_per_eval is None else None

    @property
    def optimizer_settings(self) -> OptimizerConfig:
        """Returns `optimizer_config` with its defaults."""
        return optimizer_settings(self.optimizer, self.optimizer_config)

    @property
    def best(self) -> WatchedMetric | None:
        """Says what the best checkpoint is chosen by, where one is kept."""
        if self.best_checkpoint is not None or not self.load_best_model_at_end:
            return self.best_checkpoint
        return self.early_stopping or BestCheckpointSpec()
