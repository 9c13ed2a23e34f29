"""A job's pairs as it will train on them, for `prefd preview` and `prefd validate`: from the job's own code, nothing else.

The text that is shown is decoded from the very ids that are trained on. The tokenizer is loaded, no weight is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from prefd.daemon.errors import EXPECTED
from prefd.daemon.home import Home
from prefd.daemon.previews import Part, Request, ShownPair, what_decides_tokens
from prefd.daemon.rundir import RunDir
from prefd.daemon.spec import JobSpec
from prefd.daemon.worker.data import PreparedData
from prefd.daemon.worker.job import Job
from prefd.daemon.worker.mixing import load_held_out, load_pairs
from prefd.daemon.worker.prompts import Prompter, Settings
from prefd.daemon.worker.remarks import find_remarks, rank
from prefd.daemon.worker.tokens import Completion, Example

NOT_WHOLE = "�"
"""What half a character decodes to."""


def check(home: Home, specs: Sequence[JobSpec]) -> list[dict[str, Any]]:
    """Of each job {"data": the data report}, {"not_reached": why} where the hub, which has its data or tokenizer, is
    silent, or {"error"}: what its first phase would end with before any model is loaded. {"unchecked"} beside these: what
    of the spec could not be looked at.

    Jobs whose pairs are the same tokens are told of one reading.
    """
    data: dict[str, PreparedData] = {}
    found: dict[str, dict[str, Any]] = {}
    answers = []
    for spec in specs:
        job = Job(home, RunDir(home.runs / "none"), spec)
        key = what_decides_tokens(spec)
        if key in data:
            vars(job)["data"] = data[key]
        if key not in found:
            found[key] = _checked(job, lambda job: {"data": job.data.report.to_json()})
            if "data" in found[key]:
                data[key] = job.data
            elif "not_reached" in found[key]:
                found[key] |= _checked(job, _read_rows)
        answer = found[key] | (_checked(job, _plan) if "data" in found[key] else {})
        answers.append(answer if "error" in answer else answer | _checked(job, _look_at_model))
    return answers


def _checked(job: Job, look: Callable[[Job], dict[str, Any]]) -> dict[str, Any]:
    """What `look` gives, or why it cannot."""
    try:
        return look(job)
    except EXPECTED as error:
        return {"not_reached" if is_the_networks(error) else "error": str(error)}


def _read_rows(job: Job) -> dict[str, Any]:
    """What can be looked at without a tokenizer."""
    for load in (load_pairs, load_held_out):
        load(job.spec.data, job.plugins.formats)
    return {}


def _plan(job: Job) -> dict[str, Any]:
    from prefd.daemon.worker.training_plan import schedule_of

    if job.spec.training is not None:
        schedule_of(job)
    return {}


def _look_at_model(job: Job) -> dict[str, Any]:
    """Nothing where the model can be trained as the spec asks, "unchecked" where it is not here to be looked at."""
    from prefd.daemon.worker.lora_keys import check_keys
    from prefd.daemon.worker.peft import check_source

    training = job.spec.training
    if job.spec.output.peft:
        check_source(job.policy)
    if training is None or not training.lora.keys:
        return {}
    if not job.policy.has_weights:
        return {"unchecked": f"training.lora.keys: the weights of {job.policy.model} are not on this machine yet"}
    check_keys(job.policy, training)
    return {}


def preview(home: Home, request: Request) -> dict[str, Any]:
    """The pairs that are asked for, and what is to be known of all. Raises what loading a job's data would raise."""
    job = Job(home, RunDir(home.runs / "none"), JobSpec.model_validate(request.spec))
    special = special_ids(job.tokenizer)
    uses = _uses(job)
    chosen, missing = select_examples(job.data, request, special)
    return {
        "model": job.policy.model,
        "chat_template": Prompter(job.tokenizer, Settings.of(job.spec.data)).is_chat,
        "ends": {job.tokenizer.decode([each]): each for each in _ends(job.examples)},
        "max_length": job.spec.data.max_length,
        "tokens": measure_lengths(job.examples),
        "data": job.data.report.to_json(),
        "pairs": [asdict(show_pair(job, example, uses[id(example)], special)) for example in chosen],
        "missing": missing,
    }


def select_examples(
    data: PreparedData, request: Request, special: frozenset[int]
) -> tuple[list[Example], dict[str, str]]:
    """The examples that are asked for; and of each named row that is none, why."""
    if request.named:
        found = [(name, [each for each in order_examples(data) if is_named(each, name)]) for name in request.named]
        missing = {name: why_missing(data, name) for name, examples in found if not examples}
        return [example for _, examples in found for example in examples], missing
    examples = order_examples(data)
    if request.worst:
        examples.sort(key=lambda one: rank(one, special, data.report.max_length), reverse=True)
    return examples[: request.count], {}


def order_examples(data: PreparedData) -> list[Example]:
    """All pairs in the order of the rows; those of a held-out source of its own come last."""
    if data.report.validation is not None:
        return [*data.train, *data.held_out]
    return sorted([*data.train, *data.held_out], key=lambda example: example.row)


def is_named(example: Example, name: str) -> bool:
    """Whether `name` is the number of the example's row, or where it stands."""
    return name in (str(example.row), f"row {example.row}", str(example))


def why_missing(data: PreparedData, name: str) -> str:
    """Why there is no pair of the row called `name`."""
    sources = [each for each in (data.report.train, data.report.validation) if each is not None]
    for source in sources:
        places = source.unusable.places
        row = next((row for row, place in enumerate(places, 1) if name in (str(row), f"row {row}", str(place))), None)
        if row is not None:
            reasons = (reason for reason, rows in source.unusable.rows.items() if row in rows)
            return f"row {row} ({places[row - 1]}) is not used: {next(reasons, 'its dataset has a weight below 1')}"
    has = " and ".join(f"{source.source} has {source.rows} rows" for source in sources)
    return f"there is no row {name.removeprefix('row ')}: {has}, counted from 1"


def show_pair(job: Job, example: Example, use: str, special: frozenset[int]) -> ShownPair:
    remarks = [remark.text for remark in find_remarks(example, special, job.spec.data.max_length)]
    prompt, chosen = split_side(job.tokenizer, example.chosen, special)
    _, rejected = split_side(job.tokenizer, example.rejected, special)
    return ShownPair(str(example), use, prompt, chosen, rejected, remarks)


def split_side(tokenizer: Any, side: Completion, special: frozenset[int]) -> tuple[Part, Part]:
    """The prompt and the answer of one side; both are decoded as the one text that they are."""
    ids = side.ids.tolist()
    texts = decode_each(tokenizer, ids)
    marks = [token in special for token in ids]
    at = side.start
    prompt = Part(ids[:at], texts[:at], marks[:at], [False] * at)
    return prompt, Part(ids[at:], texts[at:], marks[at:], side.own.tolist(), side.cut)


def decode_each(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text of `ids`; a character of several tokens is the last one's.

    Each is decoded behind the piece before it: a tokenizer may drop the space that a text of its own begins with.
    """
    texts: list[str] = []
    before = begin = 0
    known = ""
    for end in range(1, len(ids) + 1):
        text = _decode(tokenizer, ids[before:end])
        if text.endswith(NOT_WHOLE) and end < len(ids):
            texts.append("")
            continue
        texts.append(text[len(known) :])
        before, begin = begin, end
        known = _decode(tokenizer, ids[before:begin])
    return texts


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Every token that was added as a whole: those that a template writes, also where they are not called special."""
    return frozenset([*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder])


def measure_lengths(examples: Sequence[Example]) -> dict[str, dict[str, float]]:
    """The least, the median and the most tokens of prompts and answers."""
    counts = {
        "prompt": [each.chosen.start for each in examples],
        "chosen": [len(each.chosen) - each.chosen.start for each in examples],
        "rejected": [len(each.rejected) - each.rejected.start for each in examples],
    }
    return {name: {"least": min(of), "median": median(of), "most": max(of)} for name, of in counts.items()}


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _ends(examples: Sequence[Example]) -> list[int]:
    """The tokens that whole answers end with, the most frequent first."""
    counts: dict[int, int] = {}
    for side in (side for each in examples for side in (each.chosen, each.rejected) if not side.cut):
        counts[int(side.ids[-1])] = counts.get(int(side.ids[-1]), 0) + 1
    return sorted(counts, key=lambda token: -counts[token])


def _uses(job: Job) -> Mapping[int, str]:
    """What becomes of each example, by its identity: pairs of two sources may have the same row."""
    trains = "scored" if job.spec.training is None else "trained on"
    return {id(each): trains for each in job.data.train} | {id(each): "held out" for each in job.data.held_out}


def is_the_networks(error: BaseException) -> bool:
    """Whether `error` says nothing but that the hub cannot be reached."""
    causes = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    return any(isinstance(each, ConnectionError) or type(each).__name__ == "LocalEntryNotFoundError" for each in causes)
