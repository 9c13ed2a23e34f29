"""Entropy, mean logits and tokens seen, against float64 numpy on full logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from prefd.daemon.worker.training.metrics import Mean, sum_pair_metrics
from prefd.daemon.worker.training.trainer import drop_uncounted, split_sides
from prefd.plugins.manager import load_plugins
from prefd.plugins.types import Logprobs, LossInput, MeasuredLogprobs, TokenDistribution
from support import jobs_on_disk
from support.jobs_on_disk import metrics, run_precompute, run_training

CPO = load_plugins().losses["cpo"].create({})
NAMES = ("entropy", "logits/chosen", "logits/rejected")


def side(seed: int, lengths: list[int]) -> tuple[Logprobs, Any, Any]:
    """Answers of these lengths with made-up numbers, and those of their tokens' entropy and mean logit that count."""
    random = np.random.default_rng(seed)
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.float32)
    entropy, logit = random.random(mask.shape) * mask, random.normal(size=mask.shape) * mask
    arrays = [mx.array(each.astype(np.float32)) for each in (entropy, logit, logit)]
    logprobs = MeasuredLogprobs.of(mx.array(-entropy.astype(np.float32)), mx.array(mask), TokenDistribution(*arrays))
    return logprobs, entropy[mask > 0], logit[mask > 0]


def test_they_are_means_over_tokens_whatever_the_batches_were() -> None:
    mean, entropies, chosen_logits, rejected_logits = Mean(), [], [], []
    for seed, lengths in enumerate(([3, 1], [7])):
        chosen, entropy, logit = side(seed, lengths)
        rejected, other_entropy, other_logit = side(seed + 10, [length + 2 for length in lengths])
        entropies += [*entropy, *other_entropy]
        chosen_logits, rejected_logits = [*chosen_logits, *logit], [*rejected_logits, *other_logit]
        x = LossInput(chosen, rejected)
        mean.add(sum_pair_metrics(x, CPO(x)))
    means = mean.means("eval_")
    expected = map(np.mean, (entropies, chosen_logits, rejected_logits))
    assert [means[f"eval_{name}"] for name in NAMES] == pytest.approx(list(expected), rel=1e-5)


def test_of_single_answers_they_are_by_label_and_without_the_mismatched_ones() -> None:
    answers, _, _ = side(0, [3, 2, 4])
    mismatched, _, _ = side(1, [5, 5, 5])
    x = LossInput(answers, mismatched, answers, mismatched, desirable=mx.array([True, False, True]))
    mean = Mean()
    mean.add(sum_pair_metrics(x, load_plugins().losses["kto"].create({})(x)))
    means = mean.means()
    assert answers.distribution is not None
    logit, entropy = np.array(answers.distribution.mean_logit), np.array(answers.distribution.entropy)
    assert means["entropy"] == pytest.approx(entropy.sum() / 9, rel=1e-5)
    assert means["logits/chosen"] == pytest.approx((logit[0].sum() + logit[2].sum()) / 7, rel=1e-5)
    assert means["logits/rejected"] == pytest.approx(logit[1].sum() / 2, rel=1e-5)


def test_a_job_logs_them_as_full_logits_have_them_and_trains_to_the_same_bits(
    home: Path, tiny_model: Path, pairs_file: Path
) -> None:
    training = {"iters": 2, "steps_per_eval": 2}
    measured, plain = (
        jobs_on_disk.job(home, tiny_model, pairs_file, "cpo", number, training=training | {"token_metrics": flag})
        for number, flag in ((1, True), (2, False))
    )
    for job in (measured, plain):
        run_precompute(job)
        run_training(job)
    lines, plain_lines = metrics(measured), metrics(plain)
    assert [line["loss"] for line in lines] == [line["loss"] for line in plain_lines]
    assert not plain_lines[0].keys() & set(NAMES)
    assert jobs_on_disk.adapter_digest(measured) == jobs_on_disk.adapter_digest(plain)
    evaluation = next(line for line in measured.run.read_metrics() if "eval_loss" in line)
    assert evaluation.keys() >= {f"eval_{name}" for name in NAMES}

    from prefd.daemon.worker.models import loading
    from prefd.daemon.worker.training.schedule import Schedule

    assert measured.spec.training is not None
    schedule = Schedule.plan(measured.data.train, measured.spec.training)
    model = loading.load(measured.policy)
    entropies: list[float] = []
    logits_of: dict[str, list[float]] = {"chosen": [], "rejected": []}
    for pair in schedule.pairs(1):
        for name, one in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            logits = np.array(model(mx.array(one.ids[None].astype(np.int32)))[0]).astype(np.float64)
            logits = logits[one.start - 1 : -1]
            p = np.exp(logits - logits.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            entropies += (-(p * np.log(p)).sum(-1)).tolist()
            logits_of[name] += logits.mean(-1).tolist()
    expected = [np.mean(entropies), np.mean(logits_of["chosen"]), np.mean(logits_of["rejected"])]
    assert [lines[0][name] for name in NAMES] == pytest.approx(expected, rel=1e-4)
    seen = [
        sum(len(one.ids) for pair in schedule.pairs(step) for one in (pair.chosen, pair.rejected)) for step in (1, 2)
    ]
    assert [line["num_tokens"] for line in lines] == [seen[0], sum(seen)]


def test_tokens_seen_are_counted_over_epochs_and_last_batches(home: Path, tiny_model: Path, pairs_file: Path) -> None:
    from prefd.daemon.worker.training.schedule import Schedule

    job = jobs_on_disk.job(home, tiny_model, pairs_file, training={"epochs": 3, "batch_size": 3})
    assert job.spec.training is not None
    schedule = Schedule.plan(job.data.train, job.spec.training)
    seen = 0
    for step in range(1, schedule.total_steps + 1):
        seen += sum(len(pair.chosen.ids) + len(pair.rejected.ids) for pair in schedule.pairs(step))
        assert schedule.count_tokens_seen(step) == seen


def test_sides_are_split_with_their_distributions() -> None:
    both, _, _ = side(0, [2, 3, 1, 4])
    assert both.distribution is not None
    chosen, rejected = split_sides(both)
    assert chosen.distribution is not None
    assert rejected.distribution is not None
    for name in TokenDistribution._fields:
        whole = getattr(both.distribution, name)
        assert mx.array_equal(
            mx.concatenate([getattr(chosen.distribution, name), getattr(rejected.distribution, name)]), whole
        )
    assert drop_uncounted(both, []) is both
