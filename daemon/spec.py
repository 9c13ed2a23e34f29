"""JobSpec: what a job is, as frozen, typed objects. `specfile.py` reads one from text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import ConfigDict, Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from prefd.daemon.dataspec import DataSpec
from prefd.daemon.moments import parse_moment
from prefd.daemon.optimization import (
    BestCheckpointSpec,
    EarlyStoppingSpec,
    OptimizerConfig,
    OptimizerName,
    ScheduleSpec,
    WatchedMetric,
    optimizer_settings,
    weight_decay_faults,
)
from prefd.daemon.specmodel import Fault, SpecModel, Text, refuse
from prefd.daemon.specpaths import resolve_path, resolve_source
from prefd.daemon.templating import parse_date

Scalar = bool | int | float | str | None
JobNumber = Annotated[int, Field(ge=1)]


class ReferenceSpec(SpecModel):
    """The frozen model, where it is not the policy's own start."""

    model: Text = Field(description="HF id or folder of the reference model")
    adapter: Text | None = Field(None, description="adapter folder to load on it")


class LossSpec(SpecModel):
    """A loss by name; every other key is one of that loss's parameters."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)
    name: str = Field(description="which loss; `prefd losses` lists them, and DPO's is sigmoid")

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @property
    def factor(self) -> float:
        """What the loss is multiplied by."""
        return 1.0


class WeightedLossSpec(LossSpec):
    """One loss of a mixture."""

    weight: float = Field(1.0, gt=0, description="what its loss is multiplied by before all are added")

    @property
    def factor(self) -> float:
        return self.weight


def _shape_of_loss(value: Any) -> str:
    return "(several)" if isinstance(value, list) else "(one)"


Losses = Annotated[
    Annotated[LossSpec, Tag("(one)")]
    | Annotated[list[WeightedLossSpec], Field(min_length=1, max_length=20), Tag("(several)")],
    Discriminator(_shape_of_loss),  # by shape, so that a fault in one is not told as a fault of the other
]


class LoraSpec(SpecModel):
    """mlx-lm's `lora_parameters`."""

    rank: int = Field(8, ge=1, description="of the adapter's matrices")
    scale: float = Field(20.0, gt=0, description="what the adapter's product is multiplied by")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the adapter's inputs left out in a step")
    keys: list[Text] | None = Field(
        None, min_length=1, description="modules to adapt, by the end of their names; default: every linear layer"
    )


class QuantizeSpec(SpecModel):
    """Quantization of the policy's weights at load."""

    bits: Literal[2, 3, 4, 5, 6, 8] = Field(4, description="of a quantized weight")
    group_size: Literal[32, 64, 128] = Field(64, description="weights that share a scale")


class QATSpec(SpecModel):
    """Quantization-aware training: steps see the weights as quantizing the fused model will round them."""

    bits: Literal[2, 3, 4, 5, 6, 8] = Field(4, description="of a weight as it will be quantized")
    group_size: Literal[32, 64, 128] = Field(64, description="weights that will share a scale")
    start_step: int = Field(0, ge=0, description="optimizer steps on unrounded weights before it begins")


class OutputSpec(SpecModel):
    """What a trained job leaves besides its adapter."""

    fuse: bool = Field(False, description="write the model with the adapter merged into it, at fused/")
    dequantize: bool = Field(False, description="the fused model in full precision, where its weights are quantized")
    peft: bool = Field(False, description="write the adapter for transformers + peft too, at peft/")

    @property
    def wanted(self) -> list[str]:
        return [name for name in type(self).model_fields if getattr(self, name)]

    @model_validator(mode="after")
    def something_to_dequantize(self) -> Self:
        if self.dequantize and not self.fuse:
            refuse([(("dequantize",), "it is about the fused model; add output.fuse: true", True)])
        return self


class TrainingSpec(SpecModel):
    """How the policy is trained. Left out, the job only fills the cache."""

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
        description="tokens run at once; a step's pairs are cut to fit; default: 1,024 on a CPU, 16,384 on a GPU",
    )
    chunk_tokens: int = Field(4096, ge=16, description="longer prompts and answers run in pieces of this size, exactly")
    grad_checkpoint: bool = Field(False, description="a quarter of the activations' memory for 1.4 times the time")
    epochs: float | None = Field(None, gt=0, le=1_000_000, description="passes over the data; default 1")
    iters: int | None = Field(None, ge=1, description="optimizer steps, instead of epochs")
    steps_per_report: int = Field(1, ge=1, description="optimizer steps between lines of metrics.jsonl")
    steps_per_eval: int | None = Field(None, ge=1, description="default: once an epoch, and at the end")
    save_every: int = Field(100, ge=1, description="optimizer steps between checkpoints")
    keep_checkpoints: int = Field(2, ge=1, description="the newest ones; older ones are removed")
    best_checkpoint: BestCheckpointSpec | None = Field(None, description="keep the best one too, by this metric")
    load_best_model_at_end: bool = Field(False, description="the adapter is the best checkpoint's, not the last one's")
    early_stopping: EarlyStoppingSpec | None = Field(None, description="end when the held-out pairs stop improving")
    seed: int = Field(0, ge=0, lt=2**32, description="of the order of the pairs, new weights and dropout")

    @model_validator(mode="before")
    @classmethod
    def rate_of_the_schedule(cls, value: Any) -> Any:
        """A schedule whose arguments begin at a learning rate says it for the job, as in mlx-lm."""
        match value:
            case {"lr_schedule": {"arguments": [int() | float() as rate, *_]}} if "learning_rate" not in value:
                return value | {"learning_rate": rate} if rate > 0 else value
        return value

    @field_validator("optimizer_config")
    @classmethod
    def taken_by_the_optimizer(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "optimizer" in info.data:  # otherwise that is the fault to tell
            optimizer_settings(info.data["optimizer"], value)
        return value

    @model_validator(mode="after")
    def consistent(self) -> Self:
        refuse([*self._optimization_faults(), *self._fine_tune_faults(), *self._qat_faults()])
        return self

    def _optimization_faults(self) -> Iterator[Fault]:
        yield from weight_decay_faults(self.optimizer, self.weight_decay)
        if self.epochs is not None and self.iters is not None:
            yield ("iters",), "give training.epochs or training.iters, not both", self.iters
        if self.lr_schedule is not None:
            yield from self.lr_schedule.faults_with(self.learning_rate, self.iters)
        evaluations = self._evaluations()
        if self.early_stopping is not None and evaluations is not None:
            said = self.early_stopping.too_few(evaluations)
            yield from [(("early_stopping",), said, self.early_stopping)] if said else []

    def _fine_tune_faults(self) -> Iterator[Fault]:
        if self.num_layers == 0:
            yield ("num_layers",), "0 layers is to train nothing; -1 is all of them", 0
        if self.fine_tune == "full" and self.lora != LoraSpec():
            yield ("lora",), "training.fine_tune is full, which trains no adapter; leave it out", self.lora
        if self.quantize is None:
            return
        if self.fine_tune == "full":
            said = "quantized weights cannot be trained in full; use training.fine_tune lora or dora"
            yield ("quantize",), said, self.quantize
        elif self.fine_tune == "dora" and 32 % self.quantize.bits:
            said = f"mlx-lm's DoRA cannot adapt weights of {self.quantize.bits} bits; use 2, 4 or 8, or training.fine_tune lora"
            yield ("quantize", "bits"), said, self.quantize.bits

    def _qat_faults(self) -> Iterator[Fault]:
        if self.qat is None:
            return
        if self.quantize is not None:
            said = "weights that training.quantize has quantized at load are rounded already; give one of the two"
            yield ("qat",), said, self.qat
        if self.fine_tune != "full" and self.lora.dropout:
            said = "training.qat rounds base and adapter as one weight, of which no part can be dropped; set it to 0"
            yield ("lora", "dropout"), said, self.lora.dropout
        if self.iters is not None and self.qat.start_step >= self.iters:
            said = f"the job has {self.iters} steps (training.iters), so no step would be rounded after step"
            yield ("qat", "start_step"), f"{said} {self.qat.start_step}", self.qat.start_step

    def _evaluations(self) -> int | None:
        """How many there will be, None where the number of pairs decides."""
        if self.iters is not None and self.steps_per_eval is not None:
            return math.ceil(self.iters / self.steps_per_eval)
        return math.ceil(self.epochs or 1) if self.iters is None and self.steps_per_eval is None else None

    @property
    def optimizer_settings(self) -> OptimizerConfig:
        """`optimizer_config` with its defaults."""
        return optimizer_settings(self.optimizer, self.optimizer_config)

    @property
    def best(self) -> WatchedMetric | None:
        """What the best checkpoint is by, where one is kept."""
        if self.best_checkpoint is not None or not self.load_best_model_at_end:
            return self.best_checkpoint
        return self.early_stopping or BestCheckpointSpec()


Reference = tuple[str, str | None, QuantizeSpec | None]
"""Model, adapter and load-time quantization."""


class JobSpec(SpecModel):
    """One job. Without `training` it only fills the cache."""

    name: str = Field("", max_length=200, description="default: the spec file's name")
    group: str = Field("", max_length=200, description="jobs that belong together; a sweep's are grouped by its name")
    priority: int = Field(0, ge=-1000, le=1000, description="the higher goes first in the queue")
    after: list[JobNumber] = Field([], max_length=100, description="numbers of the jobs that must be done before")
    not_before: str | None = Field(
        None, description="do not start before this moment", examples=["2026-11-23 02:00", "2026-11-23 02:00+01:00"]
    )
    model: Text = Field(
        description="HF id or folder; the policy starts here",
        examples=["./model", "mlx-community/SmolLM2-135M-Instruct"],
    )
    adapter: Text | None = Field(
        None, description="start from this adapter, mlx-lm's or PEFT's", examples=["./sft-adapter"]
    )
    reference: ReferenceSpec | None = Field(None, description="default: a frozen copy of where the policy starts")
    data: DataSpec = Field(description="the pairs")
    loss: Losses = Field(LossSpec(name="sigmoid"), description="a loss, or a list of losses each with its weight")
    training: TrainingSpec | None = Field(None, description="how it is trained; left out, the job fills the cache only")
    output: OutputSpec = Field(OutputSpec(), description="what it leaves besides the adapter")

    @field_validator("not_before", mode="before")
    @classmethod
    def a_moment(cls, value: Any) -> Any:
        if isinstance(value, datetime):  # TOML has them
            value = value.isoformat(" ")
        if isinstance(value, str):
            parse_moment(value)
        return value

    @property
    def starts_at(self) -> float | None:
        """`not_before` as Unix time."""
        return None if self.not_before is None else parse_moment(self.not_before)

    @property
    def scored_by(self) -> Reference:
        """Who the reference is, as far as the spec tells: jobs with the same one may miss the same entries."""
        if self.reference is not None:
            return self.reference.model, self.reference.adapter, None
        return self.model, self.adapter, self.training.quantize if self.training else None

    @property
    def losses(self) -> dict[str, LossSpec]:
        """Each loss by its place: `loss`, or `loss[0]`, `loss[1]`, … of a mixture."""
        return losses_by_place(self.loss)

    @model_validator(mode="after")
    def consistent(self) -> Self:
        if self.training is None:
            said = "there is no training, so there is nothing to write"
            refuse([(("output", name), said, True) for name in self.output.wanted])
        else:
            refuse([*self._full_training_faults(self.training), *self._selection_faults(self.training)])
        return self

    def _full_training_faults(self, training: TrainingSpec) -> Iterator[Fault]:
        if training.fine_tune != "full":
            return
        if self.output.peft:
            yield ("output", "peft"), "full training leaves no adapter; use output.fuse", True
        if self.adapter is not None:
            said = "the policy starts from an adapter, which full training cannot go on with; fuse it first"
            yield ("training", "fine_tune"), said, training.fine_tune

    def _selection_faults(self, training: TrainingSpec) -> Iterator[Fault]:
        """What goes by the held-out pairs needs some."""
        if self.data.validation != 0:
            return
        for name in ("early_stopping", "best_checkpoint", "load_best_model_at_end"):
            if value := getattr(training, name):
                yield ("training", name), "goes by the held-out pairs, and data.validation is 0; hold some out", value

    def without_training(self) -> JobSpec:
        """The job that only fills the cache."""
        return self.model_copy(update={"training": None, "output": OutputSpec()})

    def dated(self, today: date | None = None) -> JobSpec:
        """This spec with the date that its prompts are rendered as of spelt out, whatever the day or the default becomes."""
        moment = parse_date(self.data.date, today)
        day = moment.date() if moment.time() == moment.min.time() else moment
        return self.model_copy(update={"data": self.data.model_copy(update={"date": day.isoformat()})})

    def resolved(self, folder: Path) -> JobSpec:
        """This spec with every relative path made absolute from `folder`, the spec file's own."""
        update: dict[str, Any] = {
            "model": resolve_source(self.model, folder),
            "adapter": None if self.adapter is None else resolve_path(self.adapter, folder),
            "data": self.data.resolved(folder),
        }
        if self.reference is not None:
            adapter = self.reference.adapter
            update["reference"] = ReferenceSpec(
                model=resolve_source(self.reference.model, folder),
                adapter=None if adapter is None else resolve_path(adapter, folder),
            )
        return self.model_copy(update=update)


T = TypeVar("T")


def losses_by_place(loss: T | Sequence[T]) -> dict[str, T]:
    """What a spec's `loss:` holds, by place: `loss`, or `loss[0]`, `loss[1]`, … where it is a list."""
    if isinstance(loss, list):
        return {f"loss[{index}]": each for index, each in enumerate(loss)}
    return {"loss": cast("T", loss)}
