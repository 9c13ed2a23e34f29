"""JobSpec: what a job is, as frozen, typed objects. `specfile.py` reads one from text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

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


class LoraSpec(SpecModel):
    """mlx-lm's `lora_parameters`."""

    rank: int = Field(8, ge=1)
    scale: float = Field(20.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    keys: list[str] | None = Field(None, min_length=1, description="module names to adapt; default: every linear layer")


class QuantizeSpec(SpecModel):
    bits: Literal[2, 3, 4, 5, 6, 8] = 4
    group_size: Literal[32, 64, 128] = 64


class QATSpec(SpecModel):
    """Quantization-aware training: steps see the weights as quantizing the fused model will round them."""

    bits: Literal[2, 3, 4, 5, 6, 8] = 4
    group_size: Literal[32, 64, 128] = 64
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
            raise ValueError("dequantize is about the fused model; add fuse: true")
        return self


class TrainingSpec(SpecModel):
    fine_tune: Literal["lora", "dora", "full"] = "lora"
    lora: LoraSpec = LoraSpec()
    num_layers: int = Field(-1, ge=-1, description="train the last N layers; -1: all")
    quantize: QuantizeSpec | None = Field(None, description="quantize the policy's weights at load (QLoRA)")
    qat: QATSpec | None = Field(None, description="train for being quantized afterwards")
    optimizer: Literal["adamw"] = "adamw"
    learning_rate: float = Field(1e-5, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    batch_size: int = Field(4, ge=1, description="pairs in a micro-batch")
    gradient_accumulation_steps: int = Field(1, ge=1, description="micro-batches in one optimizer step")
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

    @model_validator(mode="after")
    def layers_to_train(self) -> Self:
        if self.num_layers == 0:
            raise ValueError("num_layers is 0, which trains nothing; -1 is all layers")
        if self.fine_tune == "dora" and self.quantize is not None and 32 % self.quantize.bits:
            raise ValueError(
                f"mlx-lm's DoRA cannot adapt weights of quantize.bits {self.quantize.bits}; use 4 or 8, or fine_tune lora"
            )
        return self

    @model_validator(mode="after")
    def qat_can_begin(self) -> Self:
        if self.qat is None:
            return self
        if self.quantize is not None:
            raise ValueError("give qat or quantize, not both: weights that are quantized at load are rounded already")
        if self.fine_tune != "full" and self.lora.dropout:
            raise ValueError(
                "qat rounds base and adapter as one weight, which lora.dropout cannot drop parts of; set it to 0"
            )
        if self.iters is not None and self.qat.start_step >= self.iters:
            raise ValueError(f"qat.start_step {self.qat.start_step} never comes in iters {self.iters}")
        return self


class JobSpec(SpecModel):
    """One job. Without `training` it only fills the cache."""

    name: str = Field("", max_length=200, description="default: the spec file's name")
    model: str = Field(min_length=1, description="HF id or folder; the policy starts here")
    adapter: str | None = Field(None, description="start from this adapter")
    reference: ReferenceSpec | None = Field(None, description="default: a frozen copy of where the policy starts")
    data: DataSpec
    loss: LossSpec = LossSpec(name="sigmoid")
    training: TrainingSpec | None = None
    output: OutputSpec = OutputSpec()

    @model_validator(mode="after")
    def something_to_write(self) -> Self:
        if self.output.wanted and self.training is None:
            raise ValueError(
                f"output.{self.output.wanted[0]} without training: nothing is trained, so nothing is written"
            )
        if self.output.peft and self.training is not None and self.training.fine_tune == "full":
            raise ValueError(
                "output.peft needs fine_tune lora or dora: full training leaves no adapter; use output.fuse"
            )
        return self

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


def resolve_path(value: str, folder: Path) -> str:
    path = Path(value).expanduser()
    return str(path if path.is_absolute() else (folder / path).resolve())


def resolve_source(value: str, folder: Path) -> str:
    """A folder or file where there is one, or where `value` can only be a path; a hub id (`org/name`) otherwise."""
    local = resolve_path(value, folder)
    if Path(local).exists() or not HUB_ID.match(value):
        return local
    return value
