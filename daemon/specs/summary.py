"""Describes in words what a spec would run, for `prefd validate` and `prefd show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefd.daemon.text.wording import format_amount, pluralize

if TYPE_CHECKING:
    from rich.text import Text

    from prefd.daemon.specs.data_spec import DataSpec
    from prefd.daemon.specs.job_spec import JobSpec, LossSpec, OutputSpec
    from prefd.daemon.specs.live_spec import LiveSpec
    from prefd.daemon.specs.samples_spec import SamplesSpec
    from prefd.daemon.specs.training_spec import TrainingSpec

Fact = tuple[str, "str | Text"]
"""A name and its value; an empty name goes on with the one above."""


def spec_facts(spec: JobSpec, needs_reference: bool = True) -> list[Fact]:
    """Lists each part of the spec that decides what happens. `needs_reference`: whether its loss does."""
    facts: list[Fact] = source_facts("model", spec.model, spec.adapter)
    if spec.live is not None:
        return [*facts, *live_facts(spec.live)]
    if spec.has_live_reference:
        facts += _live_reference_facts(spec)
    elif not needs_reference:
        facts.append(("reference", "none: the loss does without"))
    elif spec.named_reference is None:
        facts.append(("reference", "a frozen copy of where the policy starts"))
    else:
        facts += source_facts("reference", spec.named_reference.model, spec.named_reference.adapter)
    if needs_reference and spec.reference is not None and spec.reference.window is not None:
        facts.append(("", f"scored with {pluralize(spec.reference.window, 'layer')} in memory at a time"))
    if needs_reference and spec.reference is not None and spec.reference.pipeline:
        facts.append(("", "its layers spread over the ranks"))
    lines = [*describe_sources(spec.data), describe_data(spec.data)]
    facts += [("" if index else "data", line) for index, line in enumerate(lines)]
    facts += [("queue", queue)] if (queue := describe_queue(spec)) else []
    if spec.training is None:
        return [*facts, ("training", "none: the job only fills the cache")]
    facts += [("loss", describe_loss(spec)), ("training", describe_training(spec.training))]
    facts += [] if spec.eval_samples is None else [("samples", describe_samples(spec.eval_samples))]
    return [*facts, ("output", describe_output(spec.output))] if spec.output.wanted else facts


def _live_reference_facts(spec: JobSpec) -> list[Fact]:
    assert spec.reference is not None
    place = "kept in the cache" if spec.reference.store else "scored at each step anew"
    return [("reference", "the policy with its adapter off, beside training"), ("", f"what the cache lacks is {place}")]


def live_facts(live: LiveSpec) -> list[Fact]:
    """Lists what a client of `prefd serve` asked for."""
    lora = "none: the client only samples" if live.lora is None else f"lora of rank {live.lora.rank}, by a client"
    begin = [] if live.from_state is None else [("begins with", live.from_state)]
    return [("client's model", live.model_id), ("training", lora), *begin]


def source_facts(name: str, model: str, adapter: str | None) -> list[Fact]:
    """Lists a model, and the adapter on it where there is one."""
    facts: list[Fact] = [(name, model)]
    return facts if adapter is None else [*facts, ("", f"with the adapter {adapter}")]


def describe_sources(data: DataSpec) -> list[str]:
    """Describes each dataset, as `org/pairs (config prefs, split train_prefs, weight 0.5)`."""
    lines = []
    for source in data.sources:
        settings = {"config": source.config, "data_dir": source.data_dir, "revision": source.revision}
        parts = [f"{name} {value}" for name, value in settings.items() if value is not None]
        parts += [f"split {source.splits[0]}"] if source.splits != ("train",) else []
        parts += [f"weight {source.weight:g}"] if source.weight != 1 else []
        lines.append(source.path + (f" ({', '.join(parts)})" if parts else ""))
    return lines


def describe_data(data: DataSpec) -> str:
    """Describes the length limit, what is held out, and whether a chat template is used."""
    held_out = data.validation
    share = f"{100 * held_out:.3g} % of the prompts" if isinstance(held_out, float) else held_out
    if data.validation_split is not None:
        share = f"the split {data.validation_split}" + (f" of {held_out}" if isinstance(held_out, str) else "")
    template = "; no chat template" if data.chat_template == "none" else ""
    return f"at most {data.max_length} tokens; held out: {share}{template}"


def describe_loss(spec: JobSpec) -> str:
    """Describes the loss and the parameters that the spec sets, as `ipo (beta 0.1)` or `sigmoid + 0.1 × sft`."""
    if spec.live is not None:
        return "its client's"
    return " + ".join(_describe_one_loss(loss) for loss in spec.losses.values())


def _describe_one_loss(loss: LossSpec) -> str:
    params = ", ".join(f"{name} {value}" for name, value in loss.params.items())
    return (f"{loss.factor:g} × " if loss.factor != 1 else "") + loss.name + (f" ({params})" if params else "")


def describe_training(training: TrainingSpec) -> str:
    """Describes what is trained, for how long, in which batches and at which rate."""
    kind = training.fine_tune if training.fine_tune == "full" else f"{training.fine_tune} of rank {training.lora.rank}"
    if training.quantize is not None:
        kind += f" on {training.quantize.bits}-bit weights"
    if training.qat is not None:
        kind += f", rounded to {training.qat.bits} bits"
        kind += f" after step {training.qat.start_step}" if training.qat.start_step else ""
    length = (
        format_amount(training.epochs or 1.0, "epoch")
        if training.iters is None
        else format_amount(training.iters, "step")
    )
    pairs = format_amount(training.batch_size, "pair") + " a batch"
    if training.gradient_accumulation_steps > 1:
        pairs += f" × {training.gradient_accumulation_steps} accumulated"
    return "; ".join(
        [kind, f"{length}, {pairs}", describe_rate(training), *describe_end(training), f"seed {training.seed}"]
    )


def describe_rate(training: TrainingSpec) -> str:
    """Describes the optimizer and its learning rate, as `adamw at 1e-05, cosine_decay after 10 steps of warmup`."""
    text = f"{training.optimizer} at {training.learning_rate:g}"
    if (schedule := training.lr_schedule) is not None:
        text += f", {schedule.name}"
        if isinstance(schedule.warmup, float):
            text += f" after a warmup of {100 * schedule.warmup:.3g} % of the steps"
        elif schedule.warmup:
            text += f" after {format_amount(schedule.warmup, 'step')} of warmup"
    return text + (f", clipped at {training.max_grad_norm:g}" if training.max_grad_norm is not None else "")


def describe_end(training: TrainingSpec) -> list[str]:
    """Describes what is decided by the held-out pairs, if anything is."""
    parts = []
    if (stopping := training.early_stopping) is not None:
        parts.append(f"stops after {format_amount(stopping.patience, 'evaluation')} without a better {stopping.metric}")
    if (best := training.best) is not None:
        is_adapter = training.load_best_model_at_end
        parts.append(f"the adapter is the best by {best.metric}" if is_adapter else f"keeps the best by {best.metric}")
    return parts


def describe_queue(spec: JobSpec) -> str:
    """Describes the job's turn in the queue, as `priority 5; after job 3; not before 2026-11-23 02:00`."""
    parts = [f"priority {spec.priority}"] if spec.priority else []
    parts += [f"after job {', '.join(map(str, spec.after))}"] if spec.after else []
    parts += [f"not before {spec.not_before}"] if spec.not_before else []
    return "; ".join(parts)


def describe_samples(samples: SamplesSpec) -> str:
    """Describes which prompts are answered, and when, as `answers to 4 held-out prompts with each evaluation, 60 s each time at most`."""
    prompts = (
        pluralize(samples.prompts, "held-out prompt")
        if isinstance(samples.prompts, int)
        else f"the prompts of {samples.prompts}"
    )
    when = "with each evaluation" if samples.every is None else f"every {pluralize(samples.every, 'step')}"
    return f"answers to {prompts} {when}, {samples.max_tokens} tokens and {samples.seconds:g} s each time at most"


def describe_output(output: OutputSpec) -> str:
    """Lists what the job writes, as `the adapter and a fused model`."""
    outputs = ["the adapter"]
    if output.fuse:
        outputs.append("a fused model" + (" in full precision" if output.dequantize else ""))
    if output.peft:
        outputs.append("a PEFT adapter")
    return ", ".join(outputs[:-1]) + " and " + outputs[-1]
