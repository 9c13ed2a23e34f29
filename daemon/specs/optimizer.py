"""The settings of the optimizer, its learning rate, and the choice of the step whose adapter is kept.

The optimizers and schedules are MLX's; what each of them takes is written down here, because the daemon that checks a
spec never imports MLX. `tests/daemon/specs/test_optimizer.py` compares it with MLX's own signatures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from prefd.daemon.text.strict_model import Fault, SpecModel, refuse
from prefd.daemon.text.wording import format_value
from prefd.plugins.metrics import EVAL, EVAL_LOSS, OF_PAIRS

Coefficient = Annotated[float, Field(ge=0, lt=1)]
Two = Field(min_length=2, max_length=2)
Betas = Annotated[list[Coefficient], Two]
Epsilons = Annotated[list[Annotated[float, Field(gt=0)]], Two]


class OptimizerConfig(SpecModel):
    """OptimizerConfig is what an optimizer takes besides learning rate and weight decay."""


class AdamConfig(OptimizerConfig):
    """Adam and AdamW correct their bias, as in the paper; MLX alone leaves `bias_correction` off."""

    betas: Betas = Field([0.9, 0.999])
    eps: float = Field(1e-8, ge=0)
    bias_correction: bool = True


class AdafactorConfig(OptimizerConfig):
    """Adafactor takes steps of `learning_rate` itself: with `scale_parameter`, an adapter's zeros would hardly move."""

    eps: Epsilons = Field([1e-30, 1e-3])
    clip_threshold: float = Field(1.0, gt=0)
    decay_rate: float = Field(-0.8, lt=0)
    beta_1: Coefficient | None = None
    scale_parameter: bool = False


class LionConfig(OptimizerConfig):
    """Lion takes two momentum coefficients."""

    betas: Betas = Field([0.9, 0.99])


class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent takes a momentum, and with it dampening or Nesterov's form."""

    momentum: Coefficient = 0.0
    dampening: float = Field(0.0, ge=0, le=1)
    nesterov: bool = False

    @model_validator(mode="after")
    def check_momentum(self) -> Self:
        """Refuses settings of the momentum where there is none."""
        faults: list[Fault] = []
        if self.nesterov and (self.momentum == 0 or self.dampening > 0):
            faults.append((("nesterov",), "needs a momentum above 0 and no dampening", self.nesterov))
        elif self.dampening > 0 and self.momentum == 0:
            faults.append((("dampening",), "dampens the momentum, which is 0", self.dampening))
        refuse(faults)
        return self


class MuonConfig(OptimizerConfig):
    """Muon takes a momentum, and how many Newton-Schulz steps orthogonalize it."""

    momentum: Coefficient = 0.95
    nesterov: bool = True
    ns_steps: int = Field(5, ge=1)


OptimizerName = Literal["adam", "adamw", "adafactor", "lion", "sgd", "muon"]
CONFIGS: Mapping[OptimizerName, type[OptimizerConfig]] = {
    "adam": AdamConfig,
    "adamw": AdamConfig,
    "adafactor": AdafactorConfig,
    "lion": LionConfig,
    "sgd": SGDConfig,
    "muon": MuonConfig,
}
NO_WEIGHT_DECAY = ("adam",)
ELSEWHERE = {
    "learning_rate": "it is training.learning_rate",
    "weight_decay": "it is training.weight_decay",
    "relative_step": "a job's learning rate is training.learning_rate, by training.lr_schedule",
    "warmup_init": "it is training.lr_schedule.warmup_init",
}


def optimizer_settings(name: OptimizerName, settings: Mapping[str, Any]) -> OptimizerConfig:
    """Validates what optimizer `name` is made with. Raises pydantic's `ValidationError`, each fault at its key."""
    fields = CONFIGS[name].model_fields
    refuse([((key,), _explain_unknown_setting(name, key), settings[key]) for key in settings if key not in fields])
    return CONFIGS[name].model_validate(dict(settings))


def _explain_unknown_setting(name: OptimizerName, key: str) -> str:
    if key in ELSEWHERE:
        return f"not here: {ELSEWHERE[key]}"
    if key in CONFIGS:
        return f"not here: write the settings of {key} without its name, under `optimizer: {key}`"
    takes = f"{name} takes {', '.join(CONFIGS[name].model_fields)}"
    takers = [each for each, config in CONFIGS.items() if key in config.model_fields]
    return takes + (f"; {key} is for {', '.join(takers)}" if takers else "")


def weight_decay_faults(name: OptimizerName, weight_decay: float) -> Iterator[Fault]:
    """Yields the fault of a weight decay that the optimizer does not have."""
    if weight_decay > 0 and name in NO_WEIGHT_DECAY:
        decaying = ", ".join(each for each in CONFIGS if each not in NO_WEIGHT_DECAY)
        yield ("weight_decay",), f"{name} has none; {decaying} have", weight_decay


Kind = Literal["rate", "steps", "factor", "end"]
KINDS: Mapping[Kind, str] = {
    "rate": "a learning rate above 0 (to begin at 0, take warmup)",
    "end": "a learning rate, 0 or above",
    "steps": "a whole number of steps, at least 1",
    "factor": "a factor above 0 and at most 1",
}
ScheduleName = Literal["constant", "cosine_decay", "linear_schedule", "exponential_decay", "step_decay"]
ARGUMENTS: Mapping[ScheduleName, Mapping[str, Kind]] = {
    "constant": {},
    "cosine_decay": {"init": "rate", "decay_steps": "steps", "end": "end"},
    "linear_schedule": {"init": "rate", "end": "end", "steps": "steps"},
    "exponential_decay": {"init": "rate", "decay_rate": "factor"},
    "step_decay": {"init": "rate", "decay_rate": "factor", "step_size": "steps"},
}
END_OPTIONAL = ("cosine_decay",)
TO_ZERO = ("cosine_decay", "linear_schedule")
"""Need no arguments: from learning_rate to 0 over the job's steps."""


class ScheduleSpec(SpecModel):
    """mlx-lm's `lr_schedule`."""

    name: ScheduleName = Field(description="the function of the step, mlx-lm's or MLX's")
    warmup: int | float = Field(0, ge=0, description="steps, or a fraction of the job's steps below 1")
    warmup_init: float = Field(0.0, ge=0, description="learning rate of the first step of the warmup")
    arguments: list[int | float] | None = Field(None, description="what the function of this name takes")

    @model_validator(mode="after")
    def check_consistency(self) -> Self:
        """Refuses a warmup or arguments that the schedule cannot have."""
        faults: list[Fault] = []
        if isinstance(self.warmup, float) and self.warmup >= 1:
            message = "must be a whole number of steps, or a fraction of the job's steps below 1"
            faults.append((("warmup",), f"{message}, got {format_value(self.warmup)}", self.warmup))
        if self.warmup_init > 0 and self.warmup == 0:
            faults.append((("warmup_init",), "there is no warmup; give training.lr_schedule.warmup", self.warmup_init))
        refuse([*faults, *self._argument_faults()])
        return self

    def _argument_faults(self) -> Iterator[Fault]:
        kinds = ARGUMENTS[self.name]
        takes = f"{self.name} takes [{', '.join(kinds)}]"
        if self.arguments is None:
            if kinds and self.name not in TO_ZERO:
                yield ("arguments",), f"give its arguments: {takes}", None
            return
        if not len(kinds) - (self.name in END_OPTIONAL) <= len(self.arguments) <= len(kinds):
            yield ("arguments",), f"{takes}, got {format_list(self.arguments)}", self.arguments
            return
        for index, ((name, kind), value) in enumerate(zip(kinds.items(), self.arguments)):
            if not _is_valid(kind, value):
                yield ("arguments", index), f"{name} must be {KINDS[kind]}, got {format_value(value)}", value
            elif self.name == "cosine_decay" and name == "end" and value > self.arguments[0]:
                message = f"{format_value(value)} is above the learning rate, {format_value(self.arguments[0])}, that it decays from"
                yield ("arguments", index), message, value

    @property
    def first_rate(self) -> float | None:
        """Returns the learning rate that `arguments` begin at, None where they do not say."""
        return float(self.arguments[0]) if self.arguments else None

    def warmup_steps(self, total: int) -> int:
        """Returns the warmup's steps in a job of `total` steps; a fraction leaves one step at least."""
        if isinstance(self.warmup, int):
            return self.warmup
        return min(math.ceil(round(self.warmup * total, 6)), total - 1)  # 0.07 · 100 is 7.000000000000001

    def faults_with(self, learning_rate: float, iters: int | None) -> Iterator[Fault]:
        """Yields what contradicts the rest of the training block, each at its place in it."""
        if self.first_rate is not None and self.first_rate != learning_rate:
            message = (
                f"begins at {self.first_rate:g}, and training.learning_rate is {learning_rate:g}; give one of the two"
            )
            yield ("lr_schedule", "arguments", 0), message, self.first_rate
        if self.warmup_init > learning_rate:
            message = f"{self.warmup_init:g} is above the learning rate, {learning_rate:g}, that the warmup rises to"
            yield ("lr_schedule", "warmup_init"), message, self.warmup_init
        if iters is not None and self.warmup_steps(iters) >= iters:
            yield ("lr_schedule", "warmup"), warmup_too_long(self.warmup_steps(iters), iters), self.warmup


def warmup_too_long(warmup: int, total: int) -> str:
    """Says that the warmup takes all of the job's steps, and the remedy."""
    return f"{warmup} steps of warmup, and the job has {total}; a fraction such as 0.1 fits every length"


def format_list(values: list[int | float]) -> str:
    """Formats a list of numbers as a spec would write it."""
    return f"[{', '.join(format_value(value) for value in values)}]"


def _is_valid(kind: Kind, value: float) -> bool:
    if kind == "steps":
        return value >= 1 and value == int(value)
    return value >= 0 if kind == "end" else 0 < value <= (1 if kind == "factor" else math.inf)


class WatchedMetric(SpecModel):
    """WatchedMetric is a metric of the held-out pairs, and which way is better."""

    metric: str = Field(EVAL_LOSS, description="a metric of the evaluations, such as eval_loss")
    mode: Literal["min", "max"] | None = Field(None, description="default: min for a loss, max for anything else")

    @model_validator(mode="after")
    def check_metric(self) -> Self:
        """Refuses a metric that evaluations do not measure."""
        if not self.metric.startswith(EVAL):
            names = [EVAL + each.name for each in OF_PAIRS]
            is_known = EVAL + self.metric in names
            hint = (
                f"did you mean {EVAL}{self.metric}?"
                if is_known
                else f"there are {', '.join(names)}, and the loss's own"
            )
            message = f"must be a metric of the evaluations, such as eval_loss; {hint}"
            refuse([(("metric",), message, self.metric)])
        return self

    @property
    def smaller_is_better(self) -> bool:
        """Says whether a smaller value of the metric is better."""
        return ("loss" in self.metric) if self.mode is None else self.mode == "min"


class BestCheckpointSpec(WatchedMetric):
    """Keep the checkpoint of the best evaluation beside the newest ones."""


class EarlyStoppingSpec(WatchedMetric):
    """End the job when `patience` evaluations in a row have not improved the best one by more than `min_delta`."""

    patience: int = Field(3, ge=1, description="evaluations without an improvement before it ends")
    min_delta: float = Field(0.0, ge=0, description="what counts as an improvement is more than this")

    def too_few(self, evaluations: int) -> str | None:
        """Says that the job ends no later than it could be stopped; None where it ends later."""
        earliest = self.patience + 1
        if evaluations > earliest:
            return None
        return (
            f"could end the job at evaluation {earliest} at the earliest, and it has {evaluations}; evaluate more often "
            "(training.steps_per_eval), or lower training.early_stopping.patience"
        )
