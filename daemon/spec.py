"""JobSpec: what a job is, as frozen, typed objects. `specfile.py` reads one from text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")

Scalar = bool | int | float | str | None
Fraction = Annotated[float, Field(ge=0, lt=1)]


class SpecModel(BaseModel):
    """Unknown keys, wrong types, NaN and infinities are errors; nothing changes after parsing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ReferenceSpec(SpecModel):
    """The frozen model, where it is not the policy's own start."""

    model: str = Field(description="HF id or folder of the reference model")
    adapter: str | None = Field(None, description="adapter folder to load on it")


class DataSpec(SpecModel):
    """Where the pairs are and how a row is read."""

    path: str = Field(description="a jsonl, json, csv or parquet file, a folder of them, or a HF dataset id")
    split: str = Field("train", description="the split, for a dataset that has them")
    revision: str | None = Field(None, description="git revision of a HF dataset")
    prompt_feature: str = Field("auto", description="column with the prompt")
    chosen_feature: str = Field("auto", description="column with the preferred answer")
    rejected_feature: str = Field("auto", description="column with the other answer")
    max_length: int = Field(1024, ge=2, description="tokens of prompt and completion together; the end is cut")
    validation: Fraction | str = Field(0.05, description="fraction of the prompts held out, or a path to other pairs")


class LossSpec(SpecModel):
    """A loss by name; every other key is one of that loss's parameters."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)
    name: str

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

    rank: int = Field(8, ge=1)
    scale: float = Field(20.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    keys: list[str] | None = Field(None, min_length=1, description="module names to adapt; default: every linear layer")


class QuantizeSpec(SpecModel):
    bits: Literal[2, 3, 4, 5, 6, 8] = 4
    group_size: Literal[32, 64, 128] = 64


class TrainingSpec(SpecModel):
    fine_tune: Literal["lora", "dora", "full"] = "lora"
    lora: LoraSpec = LoraSpec()
    num_layers: int = Field(-1, ge=-1, description="adapt the last N layers; -1: all")
    quantize: QuantizeSpec | None = Field(None, description="quantize the policy's weights at load (QLoRA)")
    optimizer: Literal["adamw"] = "adamw"
    learning_rate: float = Field(1e-5, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    batch_size: int = Field(4, ge=1, description="pairs in a micro-batch")
    gradient_accumulation_steps: int = Field(1, ge=1, description="micro-batches in one optimizer step")
    batch_tokens: int | None = Field(
        None,
        ge=1,
        description="tokens run at once; a step's pairs are cut to fit; default: 1,024 on a CPU, 16,384 on a GPU",
    )
    chunk_tokens: int = Field(4096, ge=16, description="longer prompts and answers run in pieces of this size, exactly")
    grad_checkpoint: bool = Field(False, description="a quarter of the activations' memory for 1.4 times the time")
    epochs: float | None = Field(None, gt=0, description="passes over the data; default 1")
    iters: int | None = Field(None, ge=1, description="optimizer steps, instead of epochs")
    steps_per_report: int = Field(1, ge=1)
    steps_per_eval: int | None = Field(None, ge=1, description="default: once an epoch, and at the end")
    save_every: int = Field(100, ge=1, description="optimizer steps between checkpoints")
    keep_checkpoints: int = Field(2, ge=1)
    seed: int = Field(0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def one_length(self) -> Self:
        if self.epochs is not None and self.iters is not None:
            raise ValueError("give epochs or iters, not both")
        if self.quantize is not None and self.fine_tune == "full":
            raise ValueError("quantize needs fine_tune lora or dora: quantized weights cannot be trained in full")
        return self


class JobSpec(SpecModel):
    """One job. Without `training` it only fills the cache."""

    name: str = Field("", max_length=200, description="default: the spec file's name")
    group: str = Field("", max_length=200, description="jobs that belong together; a sweep's are grouped by its name")
    model: str = Field(min_length=1, description="HF id or folder; the policy starts here")
    adapter: str | None = Field(None, description="start from this adapter")
    reference: ReferenceSpec | None = Field(None, description="default: a frozen copy of where the policy starts")
    data: DataSpec
    loss: Losses = Field(LossSpec(name="sigmoid"), description="a loss, or a list of losses each with its weight")
    training: TrainingSpec | None = None

    @property
    def losses(self) -> dict[str, LossSpec]:
        """Each loss by its place: `loss`, or `loss[0]`, `loss[1]`, … of a mixture."""
        return losses_by_place(self.loss)

    def resolved(self, folder: Path) -> JobSpec:
        """This spec with every relative path made absolute from `folder`, the spec file's own."""
        update: dict[str, Any] = {
            "model": resolve_source(self.model, folder),
            "adapter": None if self.adapter is None else resolve_path(self.adapter, folder),
            "data": self.data.model_copy(
                update={
                    "path": resolve_source(self.data.path, folder),
                    "validation": self.data.validation
                    if isinstance(self.data.validation, float)
                    else resolve_source(self.data.validation, folder),
                }
            ),
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


def resolve_path(value: str, folder: Path) -> str:
    path = Path(value).expanduser()
    return str(path if path.is_absolute() else (folder / path).resolve())


def resolve_source(value: str, folder: Path) -> str:
    """A folder or file where there is one, or where `value` can only be a path; a hub id (`org/name`) otherwise."""
    local = resolve_path(value, folder)
    if Path(local).exists() or not HUB_ID.match(value):
        return local
    return value
