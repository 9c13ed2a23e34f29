"""What a spec may not say: each refused by what `prefd validate` runs, at the field itself."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.reading import load_specs
from prefd.daemon.specs.spec_error import SpecError
from prefd.daemon.text.validation_faults import list_fields
from support import fake_worker

BASE = {"model": "org/model", "data.path": "org/pairs", "training.seed": 0}
FULL = {"training.fine_tune": "full"}
SCHEDULE = "training.lr_schedule"
WHOLE_BATCH = fake_worker.loss() | {"batch_independent": False}
CATALOG = fake_worker.CATALOG | {"losses": fake_worker.CATALOG["losses"] | {"aot": WHOLE_BATCH}}


def refused(folder: Path, settings: dict[str, Any]) -> list[str]:
    """The lines that a spec with these settings (by dotted name; None takes one out) is refused with."""
    document: dict[str, Any] = {}
    for name, value in (BASE | settings).items():
        *above, last = name.split(".")
        block = document
        for part in above:
            block = block.setdefault(part, {})
        block[last] = value
        if value is None:
            del block[last]
    document = {name: value for name, value in document.items() if value != {}}
    (folder / "job.json").write_text(json.dumps(document))
    with pytest.raises(SpecError) as caught:
        load_specs(folder / "job.json", fake_worker.catalog(CATALOG))
    return [f"{fault.path}: {fault.message}" for fault in caught.value.faults]


OUT_OF_RANGE = {
    "name": ["a" * 201, "two\nlines"],
    "group": ["a" * 201],
    "model": [""],
    "adapter": [""],
    "data.path": [""],
    "data.split": [""],
    "data.revision": [""],
    "data.prompt_feature": [""],
    "data.chosen_feature": [""],
    "data.rejected_feature": [""],
    "data.max_length": [1, 0.5],
    "data.validation": [1.0, -0.1, ""],
    "loss": [[]],
    "loss.name": ["kto"],
    "reference.live": ["policy", True],
    "eval_samples.prompts": [0, 65, ""],
    "eval_samples.every": [0],
    "eval_samples.max_tokens": [0],
    "eval_samples.temperature": [-0.1],
    "eval_samples.seconds": [0],
    "eval_samples.seed": [-1],
    "training.fine_tune": ["qlora"],
    "training.lora.rank": [0, -1],
    "training.lora.scale": [0],
    "training.lora.dropout": [1, -0.1],
    "training.lora.keys": [[]],
    "training.num_layers": [0, -2],
    "training.quantize.bits": [1, 7, 16],
    "training.quantize.group_size": [0, 48],
    "training.qat.bits": [1, 7, 16],
    "training.qat.group_size": [0, 48],
    "training.qat.start_step": [-1],
    "training.optimizer": ["adamax"],
    "training.learning_rate": [0, -1e-5],
    "training.weight_decay": [-0.1],
    "training.max_grad_norm": [0],
    "training.batch_size": [0],
    "training.gradient_accumulation_steps": [0],
    "training.batch_tokens": [0],
    "training.chunk_tokens": [15, 0],
    "training.epochs": [0, -1, 1e7],
    "training.iters": [0],
    "training.steps_per_report": [0],
    "training.steps_per_eval": [0],
    "training.save_every": [0],
    "training.keep_checkpoints": [0],
    "training.early_stopping.patience": [0],
    "training.early_stopping.min_delta": [-1],
    "training.early_stopping.metric": ["loss"],
    "training.early_stopping.mode": ["best"],
    "training.best_checkpoint.metric": ["rewards/margins"],
    "training.best_checkpoint.mode": ["best"],
    "training.seed": [-1, 2**32],
}


def test_a_value_out_of_range_is_refused_at_its_field(tmp_path: Path, subtests: pytest.Subtests) -> None:
    for name, values in OUT_OF_RANGE.items():
        for value in values:
            with subtests.test(f"{name} {value!r}"):
                [line] = refused(tmp_path, {name: value})
                assert line.startswith(f"{name}: "), line


def test_a_value_of_another_kind_is_refused_at_its_field(tmp_path: Path, subtests: pytest.Subtests) -> None:
    for name in list_fields(JobSpec):
        with subtests.test(name):
            check_kind(tmp_path, name)


def check_kind(tmp_path: Path, name: str) -> None:
    above = {each: None for each in BASE if each.startswith(f"{name}.")}
    extra = (
        {"reference.model": "org/other"}
        if name in ("reference.adapter", "reference.window", "reference.pipeline")
        else {}
    )
    extra |= {SCHEDULE + ".name": "constant"} if name.startswith(SCHEDULE + ".") else {}
    lines = refused(tmp_path, above | extra | {name: [[]]})
    assert any(line.startswith((f"{name}: ", f"{name}[0]: ")) for line in lines), lines


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"training.epochs": 1, "training.iters": 5}, "training.iters: give training.epochs or training.iters, not both"),
        ({"training.lora.rank": 4} | FULL, "training.lora: training.fine_tune is full, which trains no adapter; leave it out"),
        ({"training.quantize.bits": 4} | FULL, "training.quantize: quantized weights cannot be trained in full; use training.fine_tune lora or dora"),
        ({"training.quantize.bits": 6, "training.fine_tune": "dora"}, "training.quantize.bits: mlx-lm's DoRA cannot adapt weights of 6 bits; use 2, 4 or 8, or training.fine_tune lora"),
        ({"training.qat.bits": 4, "training.quantize.bits": 4}, "training.qat: weights that training.quantize has quantized at load are rounded already; give one of the two"),
        ({"training.qat.bits": 4, "training.lora.dropout": 0.1}, "training.lora.dropout: training.qat rounds base and adapter as one weight, of which no part can be dropped; set it to 0"),
        ({"training.qat.start_step": 9, "training.iters": 9}, "training.qat.start_step: the job has 9 steps (training.iters), so no step would be rounded after step 9"),
        ({"adapter": "org/adapter"} | FULL, "training.fine_tune: the policy starts from an adapter, which full training cannot go on with; fuse it first"),
        ({"reference.adapter": "org/adapter"}, "reference.adapter: name the model that it is on, as reference.model"),
        ({"reference.live": "adapter_off", "reference.model": "org/other"}, "reference.model: reference.live: adapter_off makes the policy's own base the reference; leave out one of the two"),
        ({"reference.live": "adapter_off", "reference.window": 2}, "reference.window: with reference.live the policy scores, which is in memory whole; leave out one of the two"),
        ({"reference.live": "adapter_off", "reference.pipeline": True}, "reference.pipeline: with reference.live the policy scores, in one process; leave out one of the two"),
        ({"reference.pipeline": True, "reference.window": 2}, "reference.window: windows are run by one process, and a pipeline by several; leave out one of the two"),
        ({"reference.pipeline": True}, "reference.pipeline: ranks is 1, and a pipeline spreads the layers over several; give ranks, or leave it out"),
        ({"reference.store": False}, "reference.store: it is about reference.live: what the reference pass scores is always kept"),
        ({"reference.live": "adapter_off", "training.seed": None}, "reference.live: there is no training, and so no adapter to take off; leave it out, and the reference fills the cache"),
        ({"reference.live": "adapter_off"} | FULL, "reference.live: full training has no adapter to take off; leave it out, and the reference scores before training"),
        ({"reference.live": "adapter_off", "training.qat.bits": 4}, "reference.live: training.qat rounds base and adapter as one weight, so the adapter cannot be taken off; leave it out"),
        ({"reference.live": "adapter_off", "adapter": "./sft"}, "reference.live: the policy starts from an adapter, and with that off it would be compared with the base, and not with where it starts; leave it out, or fuse the adapter into the model first"),
        ({"reference.live": "adapter_off", "loss": {"name": "cpo"}}, "reference.live: cpo takes no reference, so there is none to score live; leave it out"),
        ({"eval_samples.seed": 1, "training.seed": None}, "eval_samples: there is no training, so there is no policy to answer; leave it out"),
        ({"eval_samples.seed": 1, "ranks": 2}, "ranks: answers are drawn by one process, while the other ranks would wait; leave out eval_samples, or ranks"),
        ({"eval_samples.prompts": 2, "data.validation": 0.0}, "eval_samples.prompts: data.validation is 0, so there are no held-out prompts; hold some out, or name a file of prompts"),
        ({"output.peft": True} | FULL, "output.peft: full training leaves no adapter; use output.fuse"),
        ({"output.dequantize": True}, "output.dequantize: it is about the fused model; add output.fuse: true"),
        ({"output.fuse": True, "training.seed": None}, "output.fuse: there is no training, so there is nothing to write"),
        ({"output.peft": True, "training.seed": None}, "output.peft: there is no training, so there is nothing to write"),
        ({"training.optimizer": "adam", "training.weight_decay": 0.1}, "training.weight_decay: adam has none; adamw, adafactor, lion, sgd, muon have"),
        ({SCHEDULE: {"name": "step_decay"}}, "training.lr_schedule: give its arguments: step_decay takes [init, decay_rate, step_size]"),
        ({SCHEDULE: {"name": "cosine_decay", "arguments": [1e-5]}}, "training.lr_schedule.arguments: cosine_decay takes [init, decay_steps, end], got [1e-05]"),
        ({SCHEDULE: {"name": "cosine_decay", "arguments": [1e-5, 0]}}, "training.lr_schedule.arguments[1]: decay_steps must be a whole number of steps, at least 1, got 0"),
        ({SCHEDULE: {"name": "linear_schedule", "arguments": [1e-5, 0.0]}}, "training.lr_schedule.arguments: linear_schedule takes [init, end, steps], got [1e-05, 0.0]"),
        ({SCHEDULE: {"name": "exponential_decay"}}, "training.lr_schedule: give its arguments: exponential_decay takes [init, decay_rate]"),
        ({SCHEDULE: {"name": "cosine_decay", "arguments": [1e-5, 9, 1e-4]}}, "training.lr_schedule.arguments[2]: 0.0001 is above the learning rate, 1e-05, that it decays from"),
        ({SCHEDULE: {"name": "constant", "warmup": 5}, "training.iters": 5}, "training.lr_schedule.warmup: 5 steps of warmup, and the job has 5; a fraction such as 0.1 fits every length"),
        ({"training.early_stopping": {}, "training.iters": 4, "training.steps_per_eval": 1}, "training.early_stopping: could end the job at evaluation 4 at the earliest, and it has 4; evaluate more often (training.steps_per_eval), or lower training.early_stopping.patience"),
        *(
            ({"data.validation": 0.0, "training.steps_per_eval": 1, f"training.{name}": value}, f"training.{name}: goes by the held-out pairs, and data.validation is 0; hold some out")
            for name, value in {"early_stopping": {"patience": 1}, "best_checkpoint": {"mode": "min"}, "load_best_model_at_end": True}.items()
        ),
        ({"data.prompt_feature": ["a", "b"], "data.system_feature": "b"}, 'data.system_feature: "b" is data.prompt_feature already; name another'),
        ({"data.prompt_feature": "a", "data.ignore_columns": ["a"]}, 'data.ignore_columns: "a" is data.prompt_feature; take it out of one'),
        ({"data.pairs": "best"}, "data.pairs: must be 'best_worst', 'best_rest' or 'all', got \"best\""),
        ({"data.chosen_feature": "text", "data.rejected_feature": "text"}, 'data.rejected_feature: "text" is data.chosen_feature already; name another'),
        ({"loss": [{"name": "sigmoid", "weight": 0}]}, "loss[0].weight: must be greater than 0, got 0"),
        ({"loss": {"name": "sigmoid", "beta": -1}}, "loss.beta: must be above 0, got -1 (sigmoid)"),
        ({"loss": {"name": "aot"}, "training.batch_tokens": 512}, "training.batch_tokens: aot looks across its batch, which is training.batch_size pairs and is never cut; leave it out"),
        ({"loss": [{"name": "cpo"}, {"name": "aot"}], "training.batch_tokens": 512}, "training.batch_tokens: aot looks across its batch, which is training.batch_size pairs and is never cut; leave it out"),
        ({"loss": {"name": "aot"}, "ranks": 2}, "ranks: aot looks across its batch, which is training.batch_size pairs and is never cut; leave it out"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused_at_one_of_them(
    tmp_path: Path, settings: dict[str, Any], line: str
) -> None:
    assert refused(tmp_path, settings) == [line]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"data.date": "tomorrow"},
            "data.date: expected a date such as 2024-07-26, a date and time such as 2024-07-26T09:30, or today",
        ),
        (
            {"data.date": "2026-01-31T09:30+01:00"},
            "data.date: a chat template prints the time of no zone; leave the offset out",
        ),
        ({"data.chat_template": "chatml"}, "data.chat_template: must be 'auto' or 'none', got \"chatml\""),
        ({"data.chat_template_kwargs": {"tools": []}}, "data.chat_template_kwargs: may not set tools"),
    ],
)
def test_what_cannot_be_said_of_a_chat_template(tmp_path: Path, settings: dict[str, Any], line: str) -> None:
    assert refused(tmp_path, settings) == [line]


@pytest.mark.parametrize(
    ("value", "today", "expected"),
    [
        ("2026-01-31", date(1999, 5, 1), "2026-01-31"),
        ("2026-01-31T09:30", date(1999, 5, 1), "2026-01-31T09:30:00"),
        ("today", date(1999, 5, 1), "1999-05-01"),
        (datetime(2026, 1, 31, 9, 30), None, "2026-01-31T09:30:00"),
        (date(2026, 1, 31), None, "2026-01-31"),
        (None, date(1999, 5, 1), "2024-07-26"),
    ],
)
def test_the_date_of_the_prompts_is_spelt_out(value: Any, today: date | None, expected: str) -> None:
    data = {"path": "p"} | ({} if value is None else {"date": value})
    dated = JobSpec.model_validate({"model": "m", "data": data}).dated(today)
    assert dated.model_dump(exclude_unset=True)["data"]["date"] == expected
    assert dated.data.moment == datetime.fromisoformat(expected)


def test_all_contradictions_are_told_at_once(tmp_path: Path) -> None:
    settings = {"training.epochs": 1, "training.iters": 5, "training.num_layers": 0, "training.quantize": {}} | FULL
    assert [line.partition(":")[0] for line in refused(tmp_path, settings)] == [
        "training.iters",
        "training.num_layers",
        "training.quantize",
    ]


def test_a_job_that_only_scores_writes_nothing() -> None:
    document = {"model": "m", "data": {"path": "p"}, "training": {}, "output": {"fuse": True}}
    spec = JobSpec.model_validate(document | {"reference": {"live": "adapter_off"}})
    only = spec.without_training()
    assert (only.training, only.reference) == (None, None)
    assert JobSpec.model_validate_json(only.model_dump_json(exclude_unset=True)) == only


def test_a_name_that_macos_took_apart_is_the_one_that_is_typed() -> None:
    apart, composed = "cafe\u0301", "caf\u00e9"
    document = {"name": apart, "group": apart, "model": "org/m", "data": {"path": "org/d"}}
    spec = JobSpec.model_validate(document)
    assert (spec.name, spec.group) == (composed, composed)


def test_a_reference_of_nothing_is_refused_and_one_with_a_window_alone_is_where_the_policy_starts() -> None:
    base = {"model": "org/m", "data": {"path": "org/d"}}
    with pytest.raises(ValidationError, match="name the model, or leave out reference"):
        JobSpec.model_validate(base | {"reference": {}})
    spec = JobSpec.model_validate(base | {"reference": {"window": 2}})
    assert spec.scored_by == JobSpec.model_validate(base).scored_by
    assert JobSpec.model_validate(base | {"ranks": 2, "reference": {"pipeline": True}}).scored_by == spec.scored_by
    assert spec.named_reference is None
    assert spec.resolved(Path("/specs")).reference == spec.reference
