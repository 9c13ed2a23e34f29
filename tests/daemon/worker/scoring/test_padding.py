"""How much of what runs is padding, on the lengths of real pairs: below a tenth, however it is batched."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.specs.training_spec import TrainingSpec
from prefd.daemon.worker.data.prepare import prepare
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.models.source import ModelSource
from prefd.daemon.worker.scoring import plan
from prefd.daemon.worker.scoring.plan import Slack
from prefd.daemon.worker.training.batch_settings import BATCH_TOKENS
from prefd.daemon.worker.training.schedule import Batching, Schedule
from prefd.plugins.manager import load_plugins
from support.paths import ROOT

LENGTHS = ROOT / "tests" / "data" / "alpaca_eval_lengths.csv"
"""Tokens of the prompts and answers of 450 pairs of alpaca_eval, by SmolLM2's tokenizer, at most 1,024 a side."""
SLACK = {"cpu": plan.CPU, "metal": plan.METAL, "large metal": plan.METAL}
DEVICES = list(SLACK)
SCORED_AT_ONCE = (2048, 16384)


def lengths() -> list[tuple[int, int, int]]:
    with LENGTHS.open(newline="") as file:
        return [(int(row["prompt"]), int(row["chosen"]), int(row["rejected"])) for row in csv.DictReader(file)]


def pairs() -> list[Example]:
    """Pairs of these lengths, their tokens made up: no two prompts are alike, nor two answers."""
    rows = []
    for row, (prompt, *answers) in enumerate(lengths(), 1):
        ids = np.random.default_rng(row).integers(0, 49152, prompt + max(answers)).astype(np.uint32)
        rows.append(Example(row, *(Completion(ids[: prompt + answer], prompt) for answer in answers)))
    return rows


def sides(examples: Sequence[Example]) -> list[Completion]:
    return [side for each in examples for side in (each.chosen, each.rejected)]


def padding(batches: Iterator[list[Completion]], slack: Slack) -> float:
    """The share of the tokens that run for `batches` which need not have: not in a prefix, nor in an answer to it."""
    run = needed_tokens = 0
    for batch in batches:
        stems = plan.plan_shared(batch, slack, slack)
        run += sum(stem.tokens.size + sum(branch.tokens.size for branch in stem.branches) for stem in stems)
        needed_tokens += sum({one.ids[: one.start - 1].tobytes(): one.start - 1 for one in batch}.values())
        needed_tokens += sum(len(one.ids) - one.start for one in batch)
    return 1 - needed_tokens / run


def scored(examples: Sequence[Example], budget: int) -> Iterator[list[Completion]]:
    distinct = list(dict.fromkeys(sides(examples)))
    return ([distinct[row] for row in batch] for batch in plan.batch_completions(distinct, budget))


def trained(examples: Sequence[Example], batch_size: int, tokens: int) -> Iterator[list[Completion]]:
    schedule = Schedule.plan(examples, TrainingSpec(batch_size=batch_size))
    for step in range(1, schedule.total_steps + 1):
        for batch in Batching(batch_size, tokens).split(schedule.pairs(step)):
            yield sides(batch)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("budget", SCORED_AT_ONCE)
def test_a_reference_pass_runs_less_than_a_tenth_of_padding(device: str, budget: int) -> None:
    assert 0.005 < padding(scored(pairs(), budget), SLACK[device]) < 0.1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("batch_size", [4, 16])
def test_an_epoch_runs_less_than_a_tenth_of_padding(device: str, batch_size: int) -> None:
    share = padding(trained(pairs(), batch_size, BATCH_TOKENS[device]), SLACK[device])
    assert 0.005 < share < 0.1


def test_a_card_of_nvidias_runs_a_third_of_the_passes_for_a_third_of_padding() -> None:
    steps = list(trained(pairs(), 4, BATCH_TOKENS["cuda"]))
    passes = {slack: sum(count_passes(step, slack) for step in steps) / len(steps) for slack in (plan.METAL, plan.CUDA)}
    assert passes[plan.CUDA] < 0.4 * passes[plan.METAL]
    assert padding(steps, plan.CUDA) < 0.4


def count_passes(completions: Sequence[Completion], slack: Slack) -> int:
    stems = plan.plan_shared(completions, slack, slack)
    return sum(1 + len(stem.branches) for stem in stems)


@pytest.mark.smol
@pytest.mark.thorough  # the tests above have the padding of these lengths, data/test_prepare.py tokenizes the real pairs
def test_the_lengths_are_those_of_the_real_pairs(smol_model: Path, shared_pairs: Path) -> None:
    tokenizer = loading.tokenizer(ModelSource(str(smol_model)))
    examples = prepare(DataSpec(path=str(shared_pairs), validation=0.0), tokenizer, load_plugins().formats).train
    assert lengths() == [
        (each.chosen.start, len(each.chosen) - each.chosen.start, len(each.rejected) - each.rejected.start)
        for each in examples
    ]
    assert padding(scored(examples, SCORED_AT_ONCE[0]), plan.CPU) < 0.1
    assert padding(trained(examples, 4, BATCH_TOKENS["cpu"]), plan.CPU) < 0.1
