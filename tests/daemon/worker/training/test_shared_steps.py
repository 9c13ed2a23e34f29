"""What ranks share out adds up to what one computes: here they are in one process, and each computes when its part is asked for.

`../ranks/test_whole_jobs.py` has them in processes of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

from prefd.daemon.worker.data.tokens import Example
from prefd.daemon.worker.job import RunningJob
from prefd.daemon.worker.ranks.frames import Frame
from prefd.daemon.worker.ranks.ring import Stamp
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.trunk import list_arrays
from prefd.daemon.worker.training.metrics import Mean
from prefd.daemon.worker.training.optimizer import make_optimizer
from prefd.daemon.worker.training.plan import plan_training
from prefd.daemon.worker.training.policy import Policy
from prefd.daemon.worker.training.schedule import Batching
from prefd.daemon.worker.training.shared_steps import SharedSteps, keep_arrays, make_zeros
from prefd.daemon.worker.training.train import open_cached_reference
from prefd.daemon.worker.training.trainer import Trainer
from support.jobs_on_disk import job as make_job
from support.jobs_on_disk import run_precompute

pytestmark = pytest.mark.usefixtures("known_bits")


@dataclass
class RankHere:
    """A rank other than the first, with the first one's weights."""

    rank: int
    trainer: Trainer
    examples: Sequence[Example]
    commands: list[Mapping[str, Any]] = field(default_factory=list)
    mean: Mean = field(default_factory=Mean)

    @property
    def own(self) -> list[Example]:
        return [self.examples[number] for number in self.commands[-1]["mine"]]

    def tell(self, head: Mapping[str, Any]) -> None:
        self.commands.append(head)
        if head["do"] == "evaluate":
            self.mean = self.trainer.sum_metrics(self.own)

    def compute(self) -> Any:
        number, pairs = self.commands[-1]["number"], self.commands[-1]["pairs"]
        self.mean, gradients = self.trainer.accumulate(number, self.own, pairs, rank=self.rank)
        return make_zeros(self.trainer.model) if gradients is None else keep_arrays(gradients)

    def hear(self) -> Frame:
        return Frame({"sums": self.mean.sums, "counts": self.mean.counts, "peak_memory": 0})


@dataclass
class CrewHere:
    """Ranks that add up what they compute, without a ring."""

    mates: list[RankHere]
    has_drifted: bool = False
    gradients: list[Any] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.mates) + 1

    @contextmanager
    def summing(self) -> Iterator[CrewHere]:
        yield self

    def sum(self, gradients: Any, stamp: Stamp) -> Any:
        assert stamp.own_pairs + sum(len(mate.own) for mate in self.mates) == stamp.pairs
        for mate in self.mates:
            gradients = tree_map(mx.add, gradients, mate.compute())
        self.gradients.append(gradients)
        return gradients


@dataclass
class Epochs:
    """What a training over some epochs gave: metrics of steps and held-out pairs, the first gradient, rows by step and rank."""

    steps: list[dict[str, float]]
    held_out: dict[str, float]
    gradient: dict[str, mx.array]
    rows: list[list[list[int]]]


def run_epochs(job: RunningJob, ranks: int) -> Epochs:
    """Two epochs of a job, of which the last step has fewer pairs; a `CrewHere` of one too."""
    training, schedule = plan_training(job)
    policy = Policy.build(job, training, schedule.total_steps)
    optimizer = make_optimizer(training, schedule.total_steps, policy.model)
    optimizer.init(policy.model.trainable_parameters())
    batching = Batching(training.batch_size, 400)
    scorer = fastest_scorer(policy.model)
    reference = open_cached_reference(job)
    trainer = Trainer(scorer, optimizer, job.loss, reference, batching, training.seed, training.max_grad_norm)
    crew = CrewHere([RankHere(rank, trainer, job.examples) for rank in range(1, ranks)])
    shared = SharedSteps(crew, job.examples)  # type: ignore[arg-type]
    own: list[list[int]] = []

    def share(what: str, number: int, examples: Sequence[Example]) -> list[Example]:
        part = SharedSteps.share(shared, what, number, examples)
        own.append([example.row for example in part])
        return part

    shared.share = share  # type: ignore[method-assign]
    trainer.ranks = shared
    steps = [trainer.step(number, schedule.pairs(number)) for number in range(1, schedule.total_steps + 1)]
    held_out = trainer.evaluate(job.data.held_out)
    of_mates = [
        [[job.examples[number].row for number in each["mine"]] for each in mate.commands] for mate in crew.mates
    ]
    rows = [list(of_ranks) for of_ranks in zip(own, *of_mates, strict=True)]
    return Epochs(steps, held_out, dict(list_arrays(crew.gradients[0])), rows[:-1])


def measure_difference(actual: Mapping[str, mx.array], expected: Mapping[str, mx.array]) -> float:
    """How far the one gradient is from the other, as a share of its length."""
    assert actual.keys() == expected.keys()
    squares = [(np.sum(np.square(np.array(actual[name] - array))), np.sum(np.square(np.array(array)))) for name, array in expected.items()]  # fmt: skip
    apart, length = np.sum(np.array(squares, np.float64), axis=0)
    return float(np.sqrt(apart / length))


def test_two_and_three_ranks_compute_what_one_does_and_see_each_pair_once_an_epoch(
    home: Path, tiny_model: Path, pairs_file: Path, subtests: pytest.Subtests
) -> None:
    job = make_job(home, tiny_model, pairs_file, training={"batch_size": 4, "epochs": 2})
    run_precompute(job)
    alone = run_epochs(job, 1)
    for ranks in (2, 3):
        with subtests.test(ranks=ranks):
            shared = run_epochs(job, ranks)
            assert measure_difference(shared.gradient, alone.gradient) < 1e-5
            for step, expected in zip(shared.steps, alone.steps, strict=True):
                assert step["loss"] == pytest.approx(expected["loss"], rel=1e-6)
                assert step["ranks"] == ranks
            assert shared.held_out == pytest.approx(alone.held_out, rel=1e-5, abs=1e-6)
            assert alone.held_out.keys() >= {"eval_loss"}
            per_epoch = len(shared.rows) // 2
            for epoch in (shared.rows[:per_epoch], shared.rows[per_epoch:]):
                rows = [row for step in epoch for part in step for row in part]
                assert sorted(rows) == sorted(example.row for example in job.data.train)
            assert len({sum(map(len, step)) for step in shared.rows}) == 2, "the last step of an epoch is a partial one"
    assert any(not part for step in run_epochs(job, 5).rows for part in step), "a rank may have no pair"
