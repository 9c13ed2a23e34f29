"""What a spec may say of optimizers, schedules and selection; each refusal names its field and the remedy."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from mlx import optimizers

from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.optimizer import ARGUMENTS, CONFIGS, END_OPTIONAL, NO_WEIGHT_DECAY, OptimizerName
from prefd.daemon.specs.reading import read_spec
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.specs.training_spec import TrainingSpec

CLASS_NAMES: dict[OptimizerName, str] = {
    "adam": "Adam",
    "adamw": "AdamW",
    "adafactor": "Adafactor",
    "lion": "Lion",
    "sgd": "SGD",
    "muon": "Muon",
}
OTHER_DEFAULTS = {
    ("adam", "bias_correction"): True,
    ("adamw", "bias_correction"): True,
    ("adafactor", "scale_parameter"): False,
}
NOT_OFFERED = {"adafactor": {"relative_step", "warmup_init"}}  # they pass over the learning rate of the spec


def list_faults(training: str, validation: str = "0.05") -> list[str]:
    text = f"model: org/m\ndata: {{path: p, validation: {validation}}}\ntraining:\n  {training}\n"
    with pytest.raises(SpecError) as caught:
        read_spec(text.encode(), "a.yaml")
    return [line.partition("training.")[2] for line in caught.value.lines]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_table_of_optimizers_is_mlxs(name: OptimizerName) -> None:
    mlx = inspect.signature(getattr(optimizers, CLASS_NAMES[name])).parameters
    offered = CONFIGS[name].model_fields
    decay = set() if name in NO_WEIGHT_DECAY else {"weight_decay"}
    assert set(offered) | decay | {"learning_rate"} | NOT_OFFERED.get(name, set()) == set(mlx)
    for key, field in offered.items():
        mine = field.get_default(call_default_factory=True)
        theirs = mlx[key].default
        expected = OTHER_DEFAULTS.get((name, key), list(theirs) if isinstance(theirs, tuple) else theirs)
        assert (mine, type(mine)) == (expected, type(expected))


@pytest.mark.parametrize("name", [name for name in ARGUMENTS if name != "constant"])
def test_the_table_of_schedules_is_mlxs(name: str) -> None:
    mlx = inspect.signature(getattr(optimizers, name)).parameters
    assert list(ARGUMENTS[name]) == list(mlx)  # type: ignore[index]
    optional = [key for key, parameter in mlx.items() if parameter.default is not parameter.empty]
    assert optional == (["end"] if name in END_OPTIONAL else [])


@pytest.mark.parametrize(
    ("training", "line"),
    [
        ("optimizer_config: {momentum: 0.9}", "optimizer_config.momentum: adamw takes betas, eps, bias_correction; momentum is for sgd, muon"),
        ("optimizer_config: {beta: 1}", "optimizer_config.beta: adamw takes betas, eps, bias_correction"),
        ("optimizer_config: {adamw: {eps: 1}}", "optimizer_config.adamw: not here: write the settings of adamw without its name, under `optimizer: adamw`"),
        ("optimizer_config: {weight_decay: 1}", "optimizer_config.weight_decay: not here: it is training.weight_decay"),
        ("optimizer: adafactor\n  optimizer_config: {relative_step: true}", "optimizer_config.relative_step: not here: a job's learning rate is training.learning_rate, by training.lr_schedule"),
        ("optimizer_config: {betas: [0.9, 1.5]}", "optimizer_config.betas[1]: must be less than 1, got 1.5"),
        ("optimizer_config: {eps: tiny}", 'optimizer_config.eps: expected a number, got "tiny"'),
        ("optimizer: sgd\n  optimizer_config: {nesterov: true}", "optimizer_config.nesterov: needs a momentum above 0 and no dampening"),
        ("optimizer: sgd\n  optimizer_config: {dampening: 0.5}", "optimizer_config.dampening: dampens the momentum, which is 0"),
        ("optimizer: muon\n  optimizer_config: {ns_steps: 0}", "optimizer_config.ns_steps: must be greater than or equal to 1, got 0"),
        ("optimizer: adam\n  weight_decay: 0.1", "weight_decay: adam has none; adamw, adafactor, lion, sgd, muon have"),
        ("max_grad_norm: 0", "max_grad_norm: must be greater than 0, got 0"),
        ("lr_schedule: {name: cosine}", "lr_schedule.name: must be 'constant', 'cosine_decay', 'linear_schedule', 'exponential_decay' or 'step_decay', got \"cosine\"; did you mean cosine_decay?"),
        ("optimizer: AdamW", "optimizer: must be 'adam', 'adamw', 'adafactor', 'lion', 'sgd' or 'muon', got \"AdamW\"; did you mean adamw?"),
        ("optimizer: adamw_torch", "optimizer: must be 'adam', 'adamw', 'adafactor', 'lion', 'sgd' or 'muon', got \"adamw_torch\"; it is adamw here"),
        ("optimizer: adamax", "optimizer: must be 'adam', 'adamw', 'adafactor', 'lion', 'sgd' or 'muon', got \"adamax\""),
        ("early_stopping: {metric: accuracy}", "early_stopping.metric: must be a metric of the evaluations, such as eval_loss; there are eval_loss, eval_rewards/accuracies, eval_rewards/margins, eval_rewards/chosen, eval_rewards/rejected, eval_logps/chosen, eval_logps/rejected, and the loss's own"),
        ("quantize: {mode: mxfp4}", "quantize.mode: unknown key; known here: bits, group_size"),
        ("quantize: 4", "quantize: expected a mapping, got 4; write {bits: 4}"),
        ("lr_schedule: {name: step_decay}", "lr_schedule: give its arguments: step_decay takes [init, decay_rate, step_size]"),
        ("lr_schedule: {name: cosine_decay, arguments: [1e-5]}", "lr_schedule.arguments: cosine_decay takes [init, decay_steps, end], got [1e-05]"),
        ("lr_schedule: {name: constant, arguments: [1e-5]}", "lr_schedule.arguments: constant takes [], got [1e-05]"),
        ("lr_schedule: {name: linear_schedule, arguments: [1e-5, 0.0]}", "lr_schedule.arguments: linear_schedule takes [init, end, steps], got [1e-05, 0.0]"),
        ("lr_schedule: {name: cosine_decay, arguments: [1e-5, 0]}", "lr_schedule.arguments[1]: decay_steps must be a whole number of steps, at least 1, got 0"),
        ("lr_schedule: {name: exponential_decay, arguments: [1e-5, 1.1]}", "lr_schedule.arguments[1]: decay_rate must be a factor above 0 and at most 1, got 1.1"),
        ("lr_schedule: {name: linear_schedule, arguments: [0, 1e-5, 10]}", "lr_schedule.arguments[0]: init must be a learning rate above 0 (to begin at 0, take warmup), got 0"),
        ("lr_schedule: {name: cosine_decay, arguments: [1e-5, 9, -1]}", "lr_schedule.arguments[2]: end must be a learning rate, 0 or above, got -1"),
        ("learning_rate: 1e-3\n  lr_schedule: {name: cosine_decay, arguments: [1e-4, 9]}", "lr_schedule.arguments[0]: begins at 0.0001, and training.learning_rate is 0.001; give one of the two"),
        ("iters: 9\n  lr_schedule: {name: constant, warmup: 9}", "lr_schedule.warmup: 9 steps of warmup, and the job has 9; a fraction such as 0.1 fits every length"),
        ("lr_schedule: {name: constant, warmup: 1.5}", "lr_schedule.warmup: must be a whole number of steps, or a fraction of the job's steps below 1, got 1.5"),
        ("lr_schedule: {name: constant, warmup: -1}", "lr_schedule.warmup: must be greater than or equal to 0, got -1"),
        ("lr_schedule: {name: constant, warmup_init: 1e-6}", "lr_schedule.warmup_init: there is no warmup; give training.lr_schedule.warmup"),
        ("lr_schedule: {name: constant, warmup: 2, warmup_init: 1}", "lr_schedule.warmup_init: 1 is above the learning rate, 1e-05, that the warmup rises to"),
        ("early_stopping: {metric: loss}", "early_stopping.metric: must be a metric of the evaluations, such as eval_loss; did you mean eval_loss?"),
        ("early_stopping: {patience: 0}", "early_stopping.patience: must be greater than or equal to 1, got 0"),
        ("early_stopping: {min_delta: -1}", "early_stopping.min_delta: must be greater than or equal to 0, got -1"),
        ("early_stopping: {}\n  iters: 20\n  steps_per_eval: 5", "early_stopping: could end the job at evaluation 4 at the earliest, and it has 4; evaluate more often (training.steps_per_eval), or lower training.early_stopping.patience"),
        ("early_stopping: {patience: 1}", "early_stopping: could end the job at evaluation 2 at the earliest, and it has 1; evaluate more often (training.steps_per_eval), or lower training.early_stopping.patience"),
    ],
)  # fmt: skip
def test_each_refusal_names_its_field_and_the_remedy(training: str, line: str) -> None:
    assert list_faults(training) == [line]


def test_what_goes_by_held_out_pairs_needs_some() -> None:
    lines = list_faults(
        "{steps_per_eval: 1, early_stopping: {}, best_checkpoint: {}, load_best_model_at_end: true}", validation="0.0"
    )
    need = "goes by the held-out pairs, and data.validation is 0; hold some out"
    assert lines == [f"{name}: {need}" for name in ("early_stopping", "best_checkpoint", "load_best_model_at_end")]


def test_several_faults_are_told_at_once() -> None:
    assert (
        len(list_faults("optimizer: adam\n  weight_decay: 0.1\n  iters: 9\n  lr_schedule: {name: constant, warmup: 9}"))
        == 2
    )


def test_arguments_say_the_learning_rate_as_in_mlx_lm() -> None:
    training = TrainingSpec.model_validate({"lr_schedule": {"name": "cosine_decay", "arguments": [3e-4, 10]}})
    assert training.learning_rate == 3e-4


@pytest.mark.parametrize(
    "training",
    [
        {"optimizer": "sgd", "optimizer_config": {"momentum": 0.9, "nesterov": True}, "weight_decay": 0.1},
        {"lr_schedule": {"name": "linear_schedule", "warmup": 0.1, "arguments": [1e-4, 0.0, 5]}},
        {
            "epochs": 9.0,
            "early_stopping": {"metric": "eval_rewards/margins", "patience": 2},
            "load_best_model_at_end": True,
        },
        {"max_grad_norm": 1.0, "best_checkpoint": {"metric": "eval_loss"}},
    ],
)
def test_a_claimed_spec_reads_back_as_it_was(training: dict[str, Any]) -> None:
    spec = JobSpec.model_validate({"model": "m", "data": {"path": "p"}, "training": training})
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


def test_the_best_goes_by_its_own_metric_or_by_that_of_early_stopping() -> None:
    def best(**training: Any) -> tuple[str, bool] | None:
        choice = TrainingSpec.model_validate(training).best
        return choice and (choice.metric, choice.smaller_is_better)

    stopping: dict[str, Any] = {"steps_per_eval": 1, "early_stopping": {"metric": "eval_rewards/margins"}}
    assert best() is None
    assert best(**stopping) is None
    assert best(load_best_model_at_end=True) == ("eval_loss", True)
    assert best(load_best_model_at_end=True, **stopping) == ("eval_rewards/margins", False)
    assert best(best_checkpoint={"metric": "eval_rewards/rejected", "mode": "min"}, **stopping) == (
        "eval_rewards/rejected",
        True,
    )
