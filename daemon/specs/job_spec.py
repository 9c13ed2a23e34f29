"""JobSpec is what a job is, as frozen, typed objects; `prefd.daemon.specs.reading` reads one from text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar, cast

from pydantic import ConfigDict, Discriminator, Field, Tag, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from prefd.daemon.specs.chat_template import parse_date
from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.specs.live_spec import NO_DATA, LiveSpec
from prefd.daemon.specs.path_or_hub_id import resolve_path, resolve_source
from prefd.daemon.specs.samples_spec import SamplesSpec
from prefd.daemon.specs.training_spec import QuantizeSpec, TrainingSpec
from prefd.daemon.text.strict_model import Fault, SpecModel, Text, refuse
from prefd.daemon.text.times import parse_moment, resolve_moment
from prefd.daemon.text.wording import compose

Scalar = bool | int | float | str | None
JobNumber = Annotated[int, Field(ge=1)]
ReporterName = Annotated[str, Field(min_length=1, max_length=40)]


class NamedReference(NamedTuple):
    """NamedReference is a frozen model that is not where the policy starts."""

    model: str
    adapter: str | None


class ReferenceSpec(SpecModel):
    """Names the frozen model, where it is not the policy's own start, and says how it is run."""

    model: Text | None = Field(
        None, description="HF id or folder of the reference model; default: where the policy starts, adapter and all"
    )
    adapter: Text | None = Field(None, description="adapter folder to load on it")
    window: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="score with so many of its layers in memory at a time; default: all, or as many as fit. No number changes",
    )
    pipeline: bool | None = Field(
        None,
        description="spread its layers over the ranks, each of which holds its own; default: where a rank cannot hold all. No number changes",
    )

    live: Literal["adapter_off"] | None = Field(
        None,
        description="adapter_off: no reference pass; the policy with its adapter off scores each batch before it is trained on, "
        "as far as the cache has not",
    )
    store: bool = Field(
        True, description="write to the cache what a live reference scores; if not, it scores again at each step"
    )

    @model_validator(mode="after")
    def check_model(self) -> Self:
        """Refuses a block that says nothing or contradicts itself, and an adapter without the model that it is on."""
        if self.live is not None:
            refuse([*self._live_faults()])
        if not self.store and self.live is None:
            refuse([(("store",), "it is about reference.live: what the reference pass scores is always kept", False)])
        if self.pipeline is not None and self.window is not None:
            message = "windows are run by one process, and a pipeline by several; leave out one of the two"
            refuse([(("window",), message, self.window)])
        if all(getattr(self, name) is None for name in ("model", "adapter", "window", "pipeline", "live")):
            refuse([(("model",), "name the model, or leave out reference: then it is where the policy starts", None)])
        if self.adapter is not None and self.model is None:
            refuse([(("adapter",), "name the model that it is on, as reference.model", self.adapter)])
        return self

    def _live_faults(self) -> Iterator[Fault]:
        """Finds what a reference that is the policy itself cannot have."""
        for name in ("model", "adapter"):
            if (value := getattr(self, name)) is not None:
                message = (
                    "reference.live: adapter_off makes the policy's own base the reference; leave out one of the two"
                )
                yield (name,), message, value
        if self.window is not None:
            message = "with reference.live the policy scores, which is in memory whole; leave out one of the two"
            yield ("window",), message, self.window
        if self.pipeline is not None:
            message = "with reference.live the policy scores, in one process; leave out one of the two"
            yield ("pipeline",), message, self.pipeline


class LossSpec(SpecModel):
    """Names a loss; every other key is one of that loss's parameters."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, allow_inf_nan=False)
    name: str = Field(description="which loss; `prefd losses` lists them, and DPO's is sigmoid")

    @property
    def params(self) -> dict[str, Any]:
        """Returns the loss's parameters that the spec sets, by name."""
        return dict(self.model_extra or {})

    @property
    def factor(self) -> float:
        """Says what the loss is multiplied by."""
        return 1.0


class WeightedLossSpec(LossSpec):
    """Adds one loss to a mixture."""

    weight: float = Field(1.0, gt=0, description="what its loss is multiplied by before all are added")

    @property
    def factor(self) -> float:
        """Says what the loss is multiplied by before the losses of a mixture are added."""
        return self.weight


def _shape_of_loss(value: Any) -> str:
    return "(several)" if isinstance(value, list) else "(one)"


Losses = Annotated[
    Annotated[LossSpec, Tag("(one)")]
    | Annotated[list[WeightedLossSpec], Field(min_length=1, max_length=20), Tag("(several)")],
    Discriminator(_shape_of_loss),  # by shape, so that a fault in one is not told as a fault of the other
]


class OutputSpec(SpecModel):
    """Says what a trained job leaves besides its adapter."""

    fuse: bool = Field(False, description="write the model with the adapter merged into it, at fused/")
    dequantize: bool = Field(False, description="the fused model in full precision, where its weights are quantized")
    peft: bool = Field(False, description="write the adapter for transformers + peft too, at peft/")

    @property
    def wanted(self) -> list[str]:
        """Returns the names of the outputs that are asked for."""
        return [name for name in type(self).model_fields if getattr(self, name)]

    @model_validator(mode="after")
    def check_dequantize(self) -> Self:
        """Refuses `dequantize` where no fused model is written."""
        if self.dequantize and not self.fuse:
            refuse([(("dequantize",), "it is about the fused model; add output.fuse: true", True)])
        return self


Reference = tuple[str, str | None, QuantizeSpec | None]
"""Model, adapter and load-time quantization."""


class JobSpec(SpecModel):
    """JobSpec is one job. Without `training` it only fills the cache."""

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
    loss: Losses = Field(
        LossSpec(name="sigmoid"), description="a loss, or a list of losses each with its weight; default: sigmoid"
    )
    training: TrainingSpec | None = Field(None, description="how it is trained; left out, the job fills the cache only")
    ranks: Annotated[int, Field(ge=1, le=64)] | Literal["all"] = Field(
        1,
        description="processes that share its passes, on this machine's cores or on those that config.toml lists; all: one for each. Numbers change by rounding",
    )
    output: OutputSpec = Field(OutputSpec(), description="what it leaves besides the adapter")
    report_to: list[ReporterName] | None = Field(
        None,
        max_length=20,
        description="tools that its metrics are shown in, each by its reporter's name; default: those of the daemon's settings",
        examples=[["trackio"], ["tensorboard", "wandb"]],
    )
    eval_samples: SamplesSpec | None = Field(
        None, description="answers of the policy while it trains, beside those of its start; default: none are drawn"
    )
    live: SkipJsonSchema[LiveSpec | None] = Field(
        None, description="the client's model that it is; of `prefd serve` alone"
    )

    @model_validator(mode="before")
    @classmethod
    def fill_in_no_data(cls, value: Any) -> Any:
        """Gives a client's model the data that it has: none."""
        if isinstance(value, dict) and value.get("live") is not None:
            return {**value, "data": NO_DATA}
        return value

    @field_validator("name", "group")
    @classmethod
    def compose_name(cls, value: str) -> str:
        """Composes the accents of a name, so that one which was copied from a file's is the one that is typed; a blank one is none."""
        return compose(value) if value.strip() else ""

    @field_validator("not_before", mode="before")
    @classmethod
    def check_not_before(cls, value: Any) -> Any:
        """Refuses a text that is no moment, and takes TOML's own dates and times as the text of the same would be."""
        if isinstance(value, datetime):
            value = value.isoformat(" ")
        elif isinstance(value, date | time):
            value = value.isoformat()
        if isinstance(value, str):
            parse_moment(value)
        return value

    @property
    def starts_at(self) -> float | None:
        """Returns `not_before` as Unix time."""
        return None if self.not_before is None else parse_moment(self.not_before)

    @property
    def named_reference(self) -> NamedReference | None:
        """Returns the reference that the spec names; None where it is a frozen copy of where the policy starts."""
        if self.reference is None or self.reference.model is None:
            return None
        return NamedReference(self.reference.model, self.reference.adapter)

    @property
    def scored_by(self) -> Reference:
        """Returns the reference as far as the spec names it: jobs with the same one may miss the same entries."""
        if self.named_reference is not None:
            return *self.named_reference, None
        return self.model, self.adapter, self.training.quantize if self.training else None

    @property
    def has_live_reference(self) -> bool:
        """Says whether the policy with its adapter off is the reference, scored beside training."""
        return self.reference is not None and self.reference.live is not None

    @property
    def prompts_file(self) -> str | None:
        """Returns the file whose prompts the policy answers while it trains; None where there is none."""
        return None if self.eval_samples is None else self.eval_samples.file

    @property
    def losses(self) -> dict[str, LossSpec]:
        """Returns each loss by its place: `loss`, or `loss[0]`, `loss[1]`, … of a mixture."""
        return losses_by_place(self.loss)

    @property
    def loss_names(self) -> set[str]:
        """Returns the names of the job's losses, each once."""
        return {loss.name for loss in self.losses.values()}

    @model_validator(mode="after")
    def check_consistency(self) -> Self:
        """Refuses outputs without training, and training settings that contradict the rest of the spec."""
        if self.has_live_reference and (message := self.explain_no_live_reference()) is not None:
            refuse([(("reference", "live"), message, "adapter_off")])
        if self.has_live_reference and self.ranks != 1:
            message = (
                "with reference.live the policy itself scores as it trains, in one process; leave out one of the two"
            )
            refuse([(("ranks",), message, self.ranks)])
        if self.reference is not None and self.reference.pipeline and self.ranks == 1:
            message = "ranks is 1, and a pipeline spreads the layers over several; give ranks, or leave it out"
            refuse([(("reference", "pipeline"), message, True)])
        if self.eval_samples is not None:
            refuse([*self._samples_faults(self.eval_samples)])
        if self.training is None:
            message = "there is no training, so there is nothing to write"
            refuse([(("output", name), message, True) for name in self.output.wanted])
            if self.report_to:
                refuse([(("report_to",), "there is no training, so there is nothing to report", self.report_to)])
        else:
            refuse([*self._full_training_faults(self.training), *self._selection_faults(self.training)])
        return self

    def explain_no_live_reference(self) -> str | None:
        """Says why there is no adapter that could be taken off, or why what is below it is not the reference; None where there is."""
        if self.training is None:
            return (
                "there is no training, and so no adapter to take off; leave it out, and the reference fills the cache"
            )
        if self.training.fine_tune == "full":
            return "full training has no adapter to take off; leave it out, and the reference scores before training"
        if self.training.qat is not None:
            return (
                "training.qat rounds base and adapter as one weight, so the adapter cannot be taken off; leave it out"
            )
        if self.adapter is not None:
            return (
                "the policy starts from an adapter, and with that off it would be compared with the base, and not with where it "
                "starts; leave it out, or fuse the adapter into the model first"
            )
        return None

    def _samples_faults(self, samples: SamplesSpec) -> Iterator[Fault]:
        if self.training is None:
            yield ("eval_samples",), "there is no training, so there is no policy to answer; leave it out", samples
        if self.ranks != 1:
            message = (
                "answers are drawn by one process, while the other ranks would wait; leave out eval_samples, or ranks"
            )
            yield ("ranks",), message, self.ranks
        if samples.file is None and self.data.validation == 0 and self.data.validation_split is None:
            message = "data.validation is 0, so there are no held-out prompts; hold some out, or name a file of prompts"
            yield ("eval_samples", "prompts"), message, samples.prompts

    def _full_training_faults(self, training: TrainingSpec) -> Iterator[Fault]:
        if training.fine_tune != "full":
            return
        if self.output.peft:
            yield ("output", "peft"), "full training leaves no adapter; use output.fuse", True
        if self.adapter is not None:
            message = "the policy starts from an adapter, which full training cannot go on with; fuse it first"
            yield ("training", "fine_tune"), message, training.fine_tune

    def _selection_faults(self, training: TrainingSpec) -> Iterator[Fault]:
        """Settings that choose by the held-out pairs need some to be held out."""
        if self.data.validation != 0:
            return
        for name in ("early_stopping", "best_checkpoint", "load_best_model_at_end"):
            if value := getattr(training, name):
                yield ("training", name), "goes by the held-out pairs, and data.validation is 0; hold some out", value

    def without_training(self) -> JobSpec:
        """Returns the job that only fills the cache for this one."""
        reference = None if self.has_live_reference else self.reference
        update = {
            "training": None,
            "output": OutputSpec(),
            "reference": reference,
            "eval_samples": None,
            "report_to": None,
        }
        return self.model_copy(update=update)

    def dated(self, today: date | None = None) -> JobSpec:
        """Returns this spec with the date of its prompts spelt out, so that it stays the same on another day or with another default."""
        moment = parse_date(self.data.date, today)
        day = moment.date() if moment.time() == moment.min.time() else moment
        return self.model_copy(update={"data": self.data.model_copy(update={"date": day.isoformat()})})

    def resolved(self, folder: Path) -> JobSpec:
        """Returns this spec so that it means the same elsewhere.

        Every relative path is made absolute from `folder`, the spec file's own, and a moment has its offset.
        """
        update: dict[str, Any] = {
            "model": resolve_source(self.model, folder),
            "adapter": None if self.adapter is None else resolve_path(self.adapter, folder),
            "data": self.data.resolved(folder),
        }
        if self.not_before is not None:
            update["not_before"] = resolve_moment(self.not_before)
        if self.eval_samples is not None and self.prompts_file is not None:
            prompts = resolve_path(self.prompts_file, folder)
            update["eval_samples"] = self.eval_samples.model_copy(update={"prompts": prompts})
        if self.reference is not None:
            model, adapter = self.reference.model, self.reference.adapter
            paths = {
                "model": None if model is None else resolve_source(model, folder),
                "adapter": None if adapter is None else resolve_path(adapter, folder),
            }
            update["reference"] = self.reference.model_copy(
                update={name: path for name, path in paths.items() if path is not None}
            )
        return self.model_copy(update=update)


T = TypeVar("T")


def losses_by_place(loss: T | Sequence[T]) -> dict[str, T]:
    """Maps what a spec's `loss:` holds by place: `loss`, or `loss[0]`, `loss[1]`, … where it is a list."""
    if isinstance(loss, list):
        return {f"loss[{index}]": each for index, each in enumerate(loss)}
    return {"loss": cast("T", loss)}
