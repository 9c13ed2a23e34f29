"""Lists the metrics that training logs with any loss: name, unit, which way is better, and how each is shown.

A new metric of the pairs is a row of `METRICS` and nothing else. Lines of metrics.jsonl, tables, figures, comparisons and
Prometheus' gauges are made from the rows, in their order. A loss's own metrics come on top, by names that are not here.
The names are TRL's. Nothing heavy is imported: the daemon's process reads this table too.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import reduce
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import mlx.core as mx

    from prefd.plugins.types import Logprobs, LossInput, LossOutput

EVAL = "eval_"
"""Prefix of a metric's name where it is of the held-out pairs."""
LOSS = "loss"
EVAL_LOSS = EVAL + LOSS
"""The loss of the held-out pairs, which every evaluation has."""
PART = f"{LOSS}/"
"""Prefix of a loss's name where it is one part of a mixture; the metric is that part's own loss."""
TIME = "time"
POSITIONS = ("step", "epoch", TIME)
"""Metrics that say where a line of metrics.jsonl stands, and nothing of the model."""


@dataclass(frozen=True)
class Metric:
    """Metric is one number of a line of metrics.jsonl."""

    name: str
    title: str
    """Its name in figures."""
    unit: str
    _: KW_ONLY
    meaning: str
    """What it is, for the documentation."""
    heading: str = ""
    """Over its column in `prefd metrics`, in two lines; without one it is in the JSON only."""
    optional: bool = False
    """Whether that column is left out where no line has it."""
    label: str = ""
    """Its name in the short lines of `prefd watch`, `show` and `events`; without one it is not in them."""
    better: Literal["higher", "lower"] | None = None
    """None where no direction is better: training may lower both rewards and still prefer the right answer."""
    in_loss_units: bool = False
    """Whether its scale depends on the loss, its parameters and the reference: only jobs that share these compare."""
    of_pairs: Callable[[LossInput, LossOutput], mx.array] | None = None
    """(B,) Its value for each pair, of held-out pairs too; None for what is measured of a whole step."""
    of_answers: Callable[[LossInput, LossOutput], mx.array] | None = None
    """(B,) Its value for each of single answers with a label; None for what is of pairs alone, or of a whole step."""
    of_tokens: Callable[[LossInput], tuple[mx.array, mx.array]] | None = None
    """A number of each answer's tokens, summed, and how many tokens those are; None for what is no mean over tokens."""
    of_label: bool | None = None
    """Of single answers, those with this label alone; None: all of them."""
    level: float | None = None
    """Its value before anything is learnt."""
    limits: tuple[float, float] | None = None
    """Range of the figure's axis."""
    gauge: tuple[str, str] | None = None
    """Its name in Prometheus, and the help text there."""


def mark_right(rewards: mx.array, desirable: mx.array | None) -> mx.array:
    """Says of which answers the reward is on the label's side of 0, (B,)."""
    assert desirable is not None
    return ((rewards > 0) & desirable) | ((rewards < 0) & ~desirable)


def count_entropy(x: LossInput) -> tuple[mx.array, mx.array]:
    """Sums the entropy of all answers' tokens; of single answers, without the mismatched ones."""
    sides = [x.policy_chosen] if x.desirable is not None else [x.policy_chosen, x.policy_rejected]
    return _sum_measured([(side, "entropy", None) for side in sides])


def count_logits(x: LossInput, chosen: bool) -> tuple[mx.array, mx.array]:
    """Sums the mean logits of the tokens of the chosen answers, or the rejected ones; of single answers, of those with the label."""
    if x.desirable is not None:
        return _sum_measured([(x.policy_chosen, "mean_logit", x.desirable == chosen)])
    return _sum_measured([(x.policy_chosen if chosen else x.policy_rejected, "mean_logit", None)])


def _sum_measured(parts: Sequence[tuple[Logprobs, str, mx.array | None]]) -> tuple[mx.array, mx.array]:
    sums, counts = [], []
    for side, name, rows in parts:
        mask = side.mask if rows is None else side.mask * rows[:, None]
        sums.append((getattr(side.distribution, name) * mask).sum())
        counts.append(mask.sum())
    return reduce(operator.add, sums), reduce(operator.add, counts)


METRICS: Mapping[str, Metric] = {
    each.name: each
    for each in (
        Metric(
            "step",
            "Step",
            "optimizer steps",
            meaning="the optimizer step after which the line was written",
            heading="\nstep",
            gauge=("prefd_job_step", "Optimizer step of the last report"),
        ),
        Metric(
            "epoch",
            "Epoch",
            "epochs",
            meaning="how often the pairs have been seen by then",
            heading="\nepoch",
            gauge=("prefd_job_epoch", "Epochs at the last report"),
        ),
        Metric(
            TIME,
            "Time",
            "Unix seconds",
            meaning="when the line was written, in seconds of Unix time; lines of versions before 0.3 have none",
        ),
        Metric(
            "loss",
            "Loss",
            "mean per pair",
            meaning="what is minimised",
            heading="\nloss",
            label="loss",
            better="lower",
            in_loss_units=True,
            of_pairs=lambda x, out: out.losses,
            of_answers=lambda x, out: out.losses,
            gauge=("prefd_job_loss", "Loss of the last report"),
        ),
        Metric(
            "rewards/accuracies",
            "Reward accuracy",
            "share of pairs",
            meaning="the share of pairs whose chosen answer has the higher reward",
            heading="rewards/\naccuracies",
            label="accuracy",
            better="higher",
            of_pairs=lambda x, out: out.chosen_rewards > out.rejected_rewards,
            of_answers=lambda x, out: mark_right(out.chosen_rewards, x.desirable),
            level=0.5,
            limits=(-0.03, 1.03),
            gauge=("prefd_job_reward_accuracy_ratio", "Share of pairs whose chosen answer has the higher reward"),
        ),
        Metric(
            "rewards/margins",
            "Reward margin",
            "chosen − rejected",
            meaning="the chosen answer's reward less the rejected one's",
            heading="rewards/\nmargins",
            label="margin",
            better="higher",
            in_loss_units=True,
            of_pairs=lambda x, out: out.chosen_rewards - out.rejected_rewards,
            level=0.0,
            gauge=("prefd_job_reward_margin", "Mean reward of chosen minus rejected at the last report"),
        ),
        Metric(
            "rewards/chosen",
            "Reward of the chosen answers",
            "mean per pair",
            meaning="what the loss believes the chosen answer to be worth: with a reference, β times the log-ratio",
            in_loss_units=True,
            of_pairs=lambda x, out: out.chosen_rewards,
            of_answers=lambda x, out: out.chosen_rewards,
            of_label=True,
            level=0.0,
        ),
        Metric(
            "rewards/rejected",
            "Reward of the rejected answers",
            "mean per pair",
            meaning="the same of the rejected answer",
            in_loss_units=True,
            of_pairs=lambda x, out: out.rejected_rewards,
            of_answers=lambda x, out: out.chosen_rewards,
            of_label=False,
            level=0.0,
        ),
        Metric(
            "logps/chosen",
            "Log-probability of the chosen answers",
            "nats, mean of sums",
            meaning="log-probability of the whole chosen answer, in nats",
            heading="logps/\nchosen",
            of_pairs=lambda x, out: x.policy_chosen.sums,
            of_answers=lambda x, out: x.policy_chosen.sums,
            of_label=True,
        ),
        Metric(
            "logps/rejected",
            "Log-probability of the rejected answers",
            "nats, mean of sums",
            meaning="the same of the rejected answer",
            heading="logps/\nrejected",
            of_pairs=lambda x, out: x.policy_rejected.sums,
            of_answers=lambda x, out: x.policy_chosen.sums,
            of_label=False,
        ),
        Metric(
            "entropy",
            "Entropy",
            "nats, mean per token",
            meaning="entropy of the policy's distribution at each token of an answer; with `training.token_metrics`, as the two that follow",
            of_tokens=count_entropy,
        ),
        Metric(
            "logits/chosen",
            "Logits of the chosen answers",
            "mean per token",
            meaning="mean of the policy's logits over the vocabulary, at the tokens of the chosen answers",
            of_tokens=lambda x: count_logits(x, True),
        ),
        Metric(
            "logits/rejected",
            "Logits of the rejected answers",
            "mean per token",
            meaning="the same of the rejected answers",
            of_tokens=lambda x: count_logits(x, False),
        ),
        Metric(
            "num_tokens",
            "Tokens seen",
            "tokens",
            meaning="tokens of prompts and answers that were trained on by then, a prompt once for each of its answers",
        ),
        Metric(
            "grad_norm",
            "Norm of the gradient",
            "before clipping",
            meaning="norm of the gradient before clipping",
            heading="grad_\nnorm",
        ),
        Metric(
            "learning_rate",
            "Learning rate",
            "per step",
            meaning="the one that the step took",
            heading="learning\n_rate",
        ),
        Metric(
            "tokens_per_second",
            "Speed",
            "tokens a second",
            meaning="of prompts and answers together",
            heading="tokens\n/s",
            gauge=("prefd_job_tokens_per_second", "Tokens trained on in a second, at the last report"),
        ),
        Metric(
            "reduce_seconds",
            "Adding up",
            "s",
            meaning="of a job of several ranks: seconds that the first has waited for the others' gradients and added them up",
            heading="reduce_\nseconds",
            better="lower",
            optional=True,
        ),
        Metric(
            "ranks",
            "Ranks",
            "processes",
            meaning="of a job of several ranks: how many have shared the step",
            heading="\nranks",
            optional=True,
        ),
        Metric(
            "peak_memory_gb",
            "Peak memory",
            "GB",
            meaning="MLX's, in 10⁹ bytes",
            better="lower",
            gauge=("prefd_job_peak_memory_gigabytes", "MLX's peak memory, in 10^9 bytes"),
        ),
    )
}

TRAINERS_METRICS = frozenset(METRICS)
"""Names that lines of metrics.jsonl have with any loss, and that no loss may give a metric of its own."""
OF_PAIRS = tuple(each for each in METRICS.values() if each.of_pairs is not None)
"""Metrics that evaluations on the held-out pairs have too."""
LABELS: Mapping[str, str] = {each.name: each.label for each in METRICS.values() if each.label}
