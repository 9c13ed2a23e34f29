"""Follows the first rank through a training: computes a share of each step and evaluation, and takes the same steps.

A rank that is not the first reads no data and no cache, and writes nothing: the pairs come over its pipe, with the reference's
numbers, and so do the weights of the checkpoint that the job goes on from.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import mlx.core as mx
from mlx.utils import tree_unflatten

from prefd.daemon.runs.batch_record import BatchSettings
from prefd.daemon.worker.data.tokens import Completion, Example
from prefd.daemon.worker.job import SpecifiedJob
from prefd.daemon.worker.models import loading
from prefd.daemon.worker.pace import Pace
from prefd.daemon.worker.ranks.channel import Channel
from prefd.daemon.worker.ranks.frames import Frame, unpack_arrays
from prefd.daemon.worker.ranks.joining import Joining
from prefd.daemon.worker.ranks.pairs import unpack_pairs
from prefd.daemon.worker.ranks.ring import Stamp, digest_arrays
from prefd.daemon.worker.scoring.choose import fastest_scorer
from prefd.daemon.worker.scoring.scorer import Options
from prefd.daemon.worker.training import memory
from prefd.daemon.worker.training.metrics import Mean
from prefd.daemon.worker.training.optimizer import make_optimizer, measure_global_norm
from prefd.daemon.worker.training.policy import Policy
from prefd.daemon.worker.training.shared_steps import keep_arrays, make_zeros, take_first_ranks
from prefd.daemon.worker.training.sizing import make_batching, make_options
from prefd.daemon.worker.training.trainer import Trainer, pad_rows
from prefd.daemon.worker.training.weight_update import decide_compiling
from prefd.plugins.types import Logprobs

log = logging.getLogger(__name__)


def follow_training(job: SpecifiedJob, channel: Channel, opening: Frame) -> None:
    """Do what the first rank asks for, until it asks for no more: then this process ends (`Channel`)."""
    with channel.beating():
        follower = _open(job, channel, opening)
    channel.answer({"ready": True, "note": follower.note})
    while True:
        command = channel.wait()
        if follower.joining.follow(command):
            continue
        match command.head["do"]:
            case "step":
                follower.step(command.head["number"], command.head["mine"], command.head["pairs"])
            case "evaluate":
                follower.answer_metrics(follower.trainer.sum_metrics(follower.select(command.head["mine"])))


def _open(job: SpecifiedJob, channel: Channel, opening: Frame) -> FollowingRank:
    """Build the policy as the first rank has it. Raises as `Policy.build`."""
    head = opening.head
    training = job.spec.training
    assert training is not None
    named = head["weights"], head["optimizer"]
    count = len(named[0]) + len(named[1])
    examples, rows = unpack_pairs(Frame(head, opening.arrays[count:]))
    policy = Policy.build(job, training, head["total_steps"])
    model = policy.model
    optimizer = make_optimizer(training, head["total_steps"], model)
    optimizer.init(model.trainable_parameters())
    if named[0]:
        model.update(tree_unflatten(unpack_arrays(named[0], opening.arrays[: len(named[0])])))
        optimizer.state = tree_unflatten(unpack_arrays(named[1], opening.arrays[len(named[0]) : count]))
    mx.eval(model.parameters(), optimizer.state)
    settings = BatchSettings(**head["batches"])
    batching, options = make_batching(training, job.loss, settings), Options.from_spec(job.spec, settings)
    estimate = memory.estimate(model, optimizer.state, examples, batching, options, policy.qat.nbytes)
    note = memory.check(estimate, training)
    if note is not None:
        log.warning("%s", note)

    def read_scores(completions: Sequence[Completion]) -> Logprobs:
        return pad_rows([rows[each] for each in completions])

    options = make_options(job, training, settings)
    trainer = Trainer(
        fastest_scorer(model, options),
        optimizer,
        job.loss,
        read_scores if job.loss.needs_reference else None,
        batching,
        training.seed,
        training.max_grad_norm,
        pace=Pace.from_environment(loading.device()),
        compiled=decide_compiling(training.compile),
        on_pass=channel.beat,
    )
    trainer.start.restore(head["start"])
    trainer.start.shielded = head["shielded"]
    return FollowingRank(trainer, policy, examples, channel, note)


class FollowingRank:
    """FollowingRank is a rank with its pairs and its policy."""

    def __init__(
        self, trainer: Trainer, policy: Policy, examples: Sequence[Example], channel: Channel, note: str | None
    ) -> None:
        self.trainer = trainer
        self.policy = policy
        self.examples = examples
        self.channel = channel
        self.note = note
        """What there is to say of its memory."""
        self.joining = Joining(channel)

    def select(self, numbers: Sequence[int]) -> list[Example]:
        """Return pairs by their numbers."""
        return [self.examples[number] for number in numbers]

    def step(self, number: int, numbers: Sequence[int], pairs: int) -> None:
        """Compute the share of step `number`, add it up with the others', and take the step. Raises `LostRing`."""
        ring, rank = self.joining.ring, self.joining.rank
        assert ring is not None
        trainer, model, qat = self.trainer, self.trainer.model, self.policy.qat
        qat.begin_step(number)
        if qat.active:
            trainer.start.unmoved = False
        mean, own = trainer.accumulate(number, self.select(numbers), pairs, rank=rank)
        own = make_zeros(model) if own is None else keep_arrays(own)
        self.answer_metrics(mean)
        total = ring.sum(own, Stamp(number, pairs, len(numbers), digest_arrays(model.trainable_parameters())))
        if ring.has_drifted:
            take_first_ranks(ring, model, trainer.optimizer)
        norm = measure_global_norm(total)
        if math.isfinite(norm):  # else the first rank ends the job, and says of which rows it came
            trainer.apply(number, total, norm)
        qat.refresh()

    def answer_metrics(self, mean: Mean) -> None:
        """Answer with sums of metrics."""
        self.channel.answer({"sums": mean.sums, "counts": mean.counts, "peak_memory": mx.get_peak_memory()})
