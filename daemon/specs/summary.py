"""What a spec would run, in words: for `prefd validate` and `prefd show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefd.daemon.text.wording import amount

if TYPE_CHECKING:
    from rich.text import Text

    from prefd.daemon.specs.data_spec import DataSpec
    from prefd.daemon.specs.job_spec import JobSpec, LossSpec, OutputSpec
    from prefd.daemon.specs.training_spec import TrainingSpec

Fact = tuple[str, "str | Text"]
"""A name and its value; an empty name goes on with the one above."""


def spec_facts(spec: JobSpec, needs_reference: bool = True) -> list[Fact]:
    """Each part of the spec that decides what happens. `needs_reference`: whether its loss does."""
    facts: list[Fact] = source_facts("model", spec.model, spec.adapter)
    if not needs_reference:
        facts.append(("reference", "none: the loss does without"))
    elif spec.reference is None:
        facts.append(("reference", "a frozen copy of where the policy starts"))
    else:
        facts += source_facts("reference", spec.reference.model, spec.reference.adapter)
    told = [*describe_sources(spec.data), describe_data(spec.data)]
    facts += [("" if index else "data", line) for index, line in enumerate(told)]
    facts += [("queue", queue)] if (queue := describe_queue(spec)) else []
    if spec.training is None:
        return [*facts, ("training", "none: the job only fills the cache")]
    facts += [("loss", describe_loss(spec)), ("training", describe_training(spec.training))]
    return [*facts, ("output", describe_output(spec.output))] if spec.output.wanted else facts


def source_facts(name: str, model: str, adapter: str | None) -> list[Fact]:
    facts: list[Fact] = [(name, model)]
    return facts if adapter is None else [*facts, ("", f"with the adapter {adapter}")]


def describe_sources(data: DataSpec) -> list[str]:
    """Each dataset, as `org/pairs (config prefs, split train_prefs, weight 0.5)`."""
    lines = []
    for source in data.sources:
        asked = {"config": source.config, "data_dir": source.data_dir, "revision": source.revision}
        parts = [f"{name} {value}" for name, value in asked.items() if value is not None]
        parts += [f"split {source.splits[0]}"] if source.splits != ("train",) else []
        parts += [f"weight {source.weight:g}"] if source.weight != 1 else []
        lines.append(source.path + (f" ({', '.join(parts)})" if parts else ""))
    return lines


def describe_data(data: DataSpec) -> str:
    held_out = data.validation
    share = f"{100 * held_out:.3g} % of the prompts" if isinstance(held_out, float) else held_out
    if data.validation_split is not None:
        share = f"the split {data.validation_split}" + (f" of {held_out}" if isinstance(held_out, str) else "")
    template = "; no chat template" if data.chat_template == "none" else ""
    return f"at most {data.max_length} tokens; held out: {share}{template}"


def describe_loss(spec: JobSpec) -> str:
    """The loss and what the spec says of its parameters, as `ipo (beta 0.1)` or `sigmoid + 0.1 × sft`."""
    return " + ".join(_one_loss(loss) for loss in spec.losses.values())


def _one_loss(loss: LossSpec) -> str:
    params = ", ".join(f"{name} {value}" for name, value in loss.params.items())
    return (f"{loss.factor:g} × " if loss.factor != 1 else "") + loss.name + (f" ({params})" if params else "")


def describe_training(training: TrainingSpec) -> str:
    kind = training.fine_tune if training.fine_tune == "full" else f"{training.fine_tune} of rank {training.lora.rank}"
    if training.quantize is not None:
        kind += f" on {training.quantize.bits}-bit weights"
    if training.qat is not None:
        kind += f", rounded to {training.qat.bits} bits"
        kind += f" after step {training.qat.start_step}" if training.qat.start_step else ""
    length = amount(training.epochs or 1.0, "epoch") if training.iters is None else amount(training.iters, "step")
    pairs = amount(training.batch_size, "pair") + " a batch"
    if training.gradient_accumulation_steps > 1:
        pairs += f" × {training.gradient_accumulation_steps} accumulated"
    return "; ".join(
        [kind, f"{length}, {pairs}", describe_rate(training), *describe_end(training), f"seed {training.seed}"]
    )


def describe_rate(training: TrainingSpec) -> str:
    """The optimizer and its learning rate, as `adamw at 1e-05, cosine_decay after 10 steps of warmup`."""
    said = f"{training.optimizer} at {training.learning_rate:g}"
    if (schedule := training.lr_schedule) is not None:
        said += f", {schedule.name}"
        if isinstance(schedule.warmup, float):
            said += f" after a warmup of {100 * schedule.warmup:.3g} % of the steps"
        elif schedule.warmup:
            said += f" after {amount(schedule.warmup, 'step')} of warmup"
    return said + (f", clipped at {training.max_grad_norm:g}" if training.max_grad_norm is not None else "")


def describe_end(training: TrainingSpec) -> list[str]:
    """What goes by the held-out pairs, if anything does."""
    said = []
    if (stopping := training.early_stopping) is not None:
        said.append(f"stops after {amount(stopping.patience, 'evaluation')} without a better {stopping.metric}")
    if (best := training.best) is not None:
        is_adapter = training.load_best_model_at_end
        said.append(f"the adapter is the best by {best.metric}" if is_adapter else f"keeps the best by {best.metric}")
    return said


def describe_queue(spec: JobSpec) -> str:
    """What it says of its turn, as `priority 5; after job 3; not before 2026-11-23 02:00`."""
    said = [f"priority {spec.priority}"] if spec.priority else []
    said += [f"after job {', '.join(map(str, spec.after))}"] if spec.after else []
    said += [f"not before {spec.not_before}"] if spec.not_before else []
    return "; ".join(said)


def describe_output(output: OutputSpec) -> str:
    made = ["the adapter"]
    if output.fuse:
        made.append("a fused model" + (" in full precision" if output.dequantize else ""))
    if output.peft:
        made.append("a PEFT adapter")
    return ", ".join(made[:-1]) + " and " + made[-1]
