"""Shows and checks a job's pairs as it will train on them, by the job's own code, for `prefd preview` and `prefd validate`.

The text that is shown is decoded from the very ids that are trained on. The tokenizer is loaded, no weight is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median

from prefd.daemon.errors import EXPECTED
from prefd.daemon.home.layout import Home
from prefd.daemon.worker.data.decoding import list_special_ids, split_side
from prefd.daemon.worker.data.mixing import load_held_out, load_pairs
from prefd.daemon.worker.data.prepare import PreparedData
from prefd.daemon.worker.data.prompts import Prompter, Settings
from prefd.daemon.worker.data.remarks import find_remarks, rank
from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.passing_faults import is_unreached
from prefd.daemon.worker_tasks.answers import DataCheck, DataChecks
from prefd.daemon.worker_tasks.inputs import DataCheckInput, PreviewInput
from prefd.daemon.worker_tasks.previews import LengthSpan, Preview, ShownPair, compute_tokens_key


def check_data(home: Home, request: DataCheckInput) -> DataChecks:
    """Check the data of each job; jobs whose pairs are the same tokens share one reading."""
    prepared: dict[str, PreparedData] = {}
    checks: dict[str, DataCheck] = {}
    answers = []
    for spec in request.specs:
        job = SpecifiedJob(home, spec)
        key = f"{job.loss.unpaired} {compute_tokens_key(spec)}"
        if key in prepared:
            vars(job)["data"] = prepared[key]
        if key not in checks:
            checks[key] = _check_part(job, lambda job: DataCheck(data=job.data.report.summarize()))
            if checks[key].data is not None:
                prepared[key] = job.data
            elif checks[key].not_reached is not None:
                checks[key] = checks[key].joined(_check_part(job, _read_rows))
        data_check = checks[key] if checks[key].data is None else checks[key].joined(_check_part(job, _check_plan))
        answers.append(
            data_check if data_check.error is not None else data_check.joined(_check_part(job, _check_model))
        )
    return DataChecks(checks=answers)


def _check_part(job: SpecifiedJob, check_part: Callable[[SpecifiedJob], DataCheck]) -> DataCheck:
    """Run `check_part`, and turn an expected error into its finding."""
    try:
        return check_part(job)
    except EXPECTED as error:
        return DataCheck(not_reached=str(error)) if is_unreached(error) else DataCheck(error=str(error))


def _read_rows(job: SpecifiedJob) -> DataCheck:
    """Read the rows, which takes no tokenizer."""
    for load in (load_pairs, load_held_out):
        load(job.spec.data, job.plugins.formats, unpaired=job.loss.unpaired)
    return DataCheck()


def _check_plan(job: SpecifiedJob) -> DataCheck:
    """Try the job's training settings on its data, and read the prompts of its samples."""
    from prefd.daemon.worker.training.plan import plan_training
    from prefd.daemon.worker.training.samples import load_prompts

    if job.spec.training is not None:
        plan_training(job)
        load_prompts(job)
    return DataCheck()


def _check_model(job: SpecifiedJob) -> DataCheck:
    """Check that the model can be trained as the spec asks, as far as what is on this machine can say."""
    from prefd.daemon.worker.models.lora_keys import check_keys
    from prefd.daemon.worker.outputs.peft import check_source

    training = job.spec.training
    if job.spec.output.peft:
        check_source(job.policy)
    if training is None or not training.lora.keys:
        return DataCheck()
    if not job.policy.has_weights:
        weights = f"the weights of {job.policy.model} are not on this machine yet"
        return DataCheck(unchecked=f"training.lora.keys: {weights}")
    check_keys(job.policy, training)
    return DataCheck()


def preview(home: Home, request: PreviewInput) -> Preview:
    """Show the requested pairs, and the counts of all. Raises what loading a job's data would raise."""
    return preview_job(SpecifiedJob(home, request.spec), request)


def preview_job(job: SpecifiedJob, request: PreviewInput) -> Preview:
    """Show the requested pairs of a job, whose data may have been loaded before."""
    special = list_special_ids(job.tokenizer)
    uses = _list_uses(job)
    chosen, missing = select_examples(job.data, request, special)
    return Preview(
        model=job.policy.model,
        chat_template=Prompter(job.tokenizer, Settings.from_spec(job.spec.data)).is_chat,
        ends={job.tokenizer.decode([token]): token for token in _list_end_tokens(job.examples)},
        max_length=job.spec.data.max_length,
        tokens=measure_lengths(job.examples),
        data=job.data.report.summarize(),
        pairs=[make_shown_pair(job, example, uses[id(example)], special) for example in chosen],
        missing=missing,
    )


def select_examples(
    data: PreparedData, request: PreviewInput, special: frozenset[int]
) -> tuple[list[Example], dict[str, str]]:
    """Select the requested examples; for each named row without a pair, explain why."""
    if request.named:
        examples_by_name = [
            (name, [example for example in order_examples(data) if is_named(example, name)]) for name in request.named
        ]
        missing = {name: explain_missing(data, name) for name, examples in examples_by_name if not examples}
        return [example for _, examples in examples_by_name for example in examples], missing
    examples = order_examples(data)
    if request.worst:
        examples.sort(key=lambda example: rank(example, special, data.report.max_length), reverse=True)
    return examples[: request.count], {}


def order_examples(data: PreparedData) -> list[Example]:
    """Sort all pairs by their rows; those of a separate held-out source come last."""
    if data.report.validation is not None:
        return [*data.train, *data.held_out]
    return sorted([*data.train, *data.held_out], key=lambda example: example.row)


def is_named(example: Example, name: str) -> bool:
    """Say whether `name` is the number of the example's row, or its place."""
    return name in (str(example.row), f"row {example.row}", str(example))


def explain_missing(data: PreparedData, name: str) -> str:
    """Explain why there is no pair of the row called `name`."""
    sources = [source for source in (data.report.train, data.report.validation) if source is not None]
    for source in sources:
        places = source.unusable.places
        row = next((row for row, place in enumerate(places, 1) if name in (str(row), f"row {row}", str(place))), None)
        if row is not None:
            reasons = (reason for reason, rows in source.unusable.rows.items() if row in rows)
            return f"row {row} ({places[row - 1]}) is not used: {next(reasons, 'its dataset has a weight below 1')}"
    counts = " and ".join(f"{source.source} has {source.rows} rows" for source in sources)
    return f"there is no row {name.removeprefix('row ')}: {counts}, counted from 1"


def make_shown_pair(job: SpecifiedJob, example: Example, use: str, special: frozenset[int]) -> ShownPair:
    """Decode a pair, with its remarks."""
    remarks = [] if example.desirable is None else [describe_label(example.desirable)]
    remarks += [remark.text for remark in find_remarks(example, special, job.spec.data.max_length)]
    prompt, chosen = split_side(job.tokenizer, example.chosen, special)
    _, rejected = split_side(job.tokenizer, example.rejected, special)
    return ShownPair(str(example), use, prompt, chosen, rejected, remarks)


def describe_label(desirable: bool) -> str:
    """Say what the two sides of a single answer are."""
    label = "a good answer" if desirable else "a bad answer"
    return f"{label} by itself, shown as chosen; rejected is an answer to another prompt, which the loss may compare it with"


def measure_lengths(examples: Sequence[Example]) -> dict[str, LengthSpan]:
    """Measure how many tokens prompts and answers have."""
    counts = {
        "prompt": [example.chosen.start for example in examples],
        "chosen": [len(example.chosen) - example.chosen.start for example in examples],
        "rejected": [len(example.rejected) - example.rejected.start for example in examples],
    }
    return {
        name: LengthSpan(least=min(lengths), median=median(lengths), most=max(lengths))
        for name, lengths in counts.items()
    }


def _list_end_tokens(examples: Sequence[Example]) -> list[int]:
    """List the tokens that uncut answers end with, the most frequent first."""
    counts: dict[int, int] = {}
    for side in (side for example in examples for side in (example.chosen, example.rejected) if not side.cut):
        counts[int(side.ids[-1])] = counts.get(int(side.ids[-1]), 0) + 1
    return sorted(counts, key=lambda token: -counts[token])


def _list_uses(job: SpecifiedJob) -> Mapping[int, str]:
    """Say what becomes of each example, by its identity: pairs of two sources may have the same row."""
    trains = "scored" if job.spec.training is None else "trained on"
    return {id(example): trains for example in job.data.train} | {
        id(example): "held out" for example in job.data.held_out
    }
