"""Defines the values that cross the plugin boundary: pairs, log-probabilities, and what a loss takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import mlx.core as mx

from prefd.plugins.metrics import TRAINERS_METRICS as TRAINERS_METRICS  # noqa: PLC0414  # so named, mypy exports it

Message = Mapping[str, Any]
"""A chat message: at least `role` and `content`."""

Text = str | Sequence[Message]
"""Plain text, or chat messages."""


@dataclass(frozen=True)
class Pair:
    """Pair is one preference: for `prompt`, `chosen` was preferred to `rejected`.

    Each side is a string (the answer's text) or the chat messages that follow the prompt. A string prompt is put
    through the tokenizer's chat template as one user message.
    """

    prompt: Text
    chosen: Text
    rejected: Text
    tools: Sequence[Mapping[str, Any]] | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    margin: float | None = field(default=None, compare=False)
    """The score of `chosen` less that of `rejected`, where the data has scores."""
    desirable: bool | None = None
    """None of a pair. Of a single answer with a label, whether it is a good one: it stands as `chosen`, and `rejected` is an
    answer to another prompt, for a loss that measures how far the policy has moved.
    """


@dataclass(frozen=True)
class Feedback:
    """Feedback is one answer to `prompt` with a label, thumbs up or down, as unpaired losses learn from.

    The texts are as those of a `Pair`.
    """

    prompt: Text
    completion: Text
    desirable: bool
    tools: Sequence[Mapping[str, Any]] | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)


class RowFormat(Protocol):
    """Turns one shape of dataset row into a `Pair`. It is pure: no files, no tokenizer.

    These two methods are all that a format needs. It may have three more:

    - `columns(row) -> Collection[str]`: the columns of `row` that its pair is made of. The job's report lists those that
      no row's pair is made of; of a format without this method, those that its `pair` did not look up. A format that
      has it is also held to it: a column that nobody read and that looks like a prompt or an answer fails the job.
    - `feedback(row) -> Feedback`: for shapes of one answer with a label, which make no pair (see `FeedbackFormat`).
    - `read(rows, options) -> Reading`: for shapes in which a row gives several pairs, or several rows one (see
      `DatasetFormat`). `pair` is then asked of no row.
    """

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Says whether `row` has this shape (its types, not whether it is usable)."""

    def pair(self, row: Mapping[str, Any]) -> Pair:
        """Makes the pair of `row`. Raises `UnusableRow` with the reason when there is none."""


@dataclass(frozen=True)
class ReadOptions:
    """ReadOptions holds what a job's spec says about how its rows are read."""

    pairs: Literal["best_worst", "best_rest", "all"] = "best_worst"
    """Of several answers to a prompt: the best against the worst, against each other one, or each against each."""
    winner: str | None = None
    """Column that says which answer won (`data.winner_feature`)."""
    score: str | None = None
    """Column, or key of an answer, that holds its score (`data.score_feature`)."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """{column as formats see it: the dataset's own name for it}, where the two differ."""

    def original(self, column: str) -> str:
        """Returns what the dataset calls `column`, for messages and notes."""
        return self.renamed.get(column, column)


@dataclass
class Reading:
    """Reading holds the pairs that a format made of a dataset, and the rows that it could not use."""

    pairs: list[tuple[int, Pair]] = field(default_factory=list)
    """With the number of the row that each pair comes from: its chosen answer's, where it comes from two."""
    unusable: list[tuple[int, UnusableRow]] = field(default_factory=list)
    """The number of each row that gave no pair, with the reason."""
    columns: dict[int, set[str]] = field(default_factory=dict)
    """By the number of a row, the columns that its pairs were made of."""
    notes: list[str] = field(default_factory=list)
    """Lines for the user on how the rows were read."""


@runtime_checkable
class DatasetFormat(RowFormat, Protocol):
    """DatasetFormat is a format that reads a dataset as a whole."""

    def read(self, rows: Mapping[int, Mapping[str, Any]], options: ReadOptions) -> Reading:
        """Makes the pairs of `rows`, which are by number. A row in neither list of the reading counts as used."""


@runtime_checkable
class FeedbackFormat(RowFormat, Protocol):
    """FeedbackFormat is a format of rows of one answer with a label, for losses that declare `unpaired`.

    With `feedback_columns(row) -> Collection[str]` it tells the columns that the answer is made of; without, they are those
    that were looked up.
    """

    def feedback(self, row: Mapping[str, Any]) -> Feedback:
        """Reads the answer of `row` and its label. Raises `UnusableRow` with the reason when there is none."""


class UnusableRow(ValueError):
    """UnusableRow is raised for a row that cannot be trained on. The message is a short reason, counted and shown in the job's report."""


class UnclearRow(UnusableRow):
    """UnclearRow is raised for a row that can be read in more than one way. The message has the setting that decides it.

    Where many rows of a dataset are unclear the job is refused with that message.
    """


class TokenDistribution(NamedTuple):
    """TokenDistribution holds numbers of the distributions that tokens were predicted by, each (B, T) float32, 0 where the mask is 0.

    No gradient flows through them.
    """

    entropy: mx.array
    """−Σ p log p over the vocabulary, in nats."""
    mean_logit: mx.array
    """The mean of the logits over the vocabulary."""
    log_sum_squares: mx.array
    """log Σ p², the log-probability that two tokens drawn from it are the same one."""

    def masked(self, mask: mx.array) -> TokenDistribution:
        """Returns the numbers with 0 where `mask` is 0."""
        return TokenDistribution(*(each * mask for each in self))


class Logprobs(NamedTuple):
    """Logprobs holds the log-probabilities of one side (chosen or rejected) of a batch.

    A NamedTuple, so that it may pass into `mx.compile`d functions.
    """

    tokens: mx.array
    """(B, T) float32: log-probability of each completion token in nats, 0 where `mask` is 0."""
    mask: mx.array
    """(B, T) float32: 1 for completion tokens (EOS included), 0 for padding and, within an answer of several turns, for
    what a user or a tool says there.
    """

    @property
    def distribution(self) -> TokenDistribution | None:
        """Returns what the tokens were predicted by, where the loss declares `needs_distribution` or the job logs such numbers; else None.

        It is no item of the tuple: who unpacks one gets tokens and mask. Reference scores have none.
        """
        return None

    @property
    def sums(self) -> mx.array:
        """Returns log π(y|x), (B,): the sum over completion tokens."""
        return (self.tokens * self.mask).sum(axis=-1)

    @property
    def lengths(self) -> mx.array:
        """Returns how many completion tokens each row has, (B,)."""
        return self.mask.sum(axis=-1)

    @property
    def means(self) -> mx.array:
        """Returns the mean log-probability per completion token, (B,)."""
        return self.sums / mx.maximum(self.lengths, 1)


class MeasuredLogprobs(Logprobs):
    """MeasuredLogprobs are log-probabilities with the distributions that their tokens were predicted by."""

    _distribution: TokenDistribution | None = None

    @classmethod
    def of(cls, tokens: mx.array, mask: mx.array, distribution: TokenDistribution | None) -> Logprobs:
        """Makes them; without a `distribution`, plain ones."""
        if distribution is None:
            return Logprobs(tokens, mask)
        logprobs = cls(tokens, mask)
        logprobs._distribution = distribution
        return logprobs

    @property
    def distribution(self) -> TokenDistribution | None:
        """Returns what the tokens were predicted by."""
        return self._distribution

    def _replace(self, **changes: mx.array) -> Logprobs:  # type: ignore[override]  # as a tuple's, with the distribution kept
        return self.of(changes.get("tokens", self.tokens), changes.get("mask", self.mask), self._distribution)


@dataclass(frozen=True)
class LossInput:
    """LossInput holds what a loss sees of a batch of B pairs.

    Log-probabilities are rounded, and by how much depends on what else ran beside a sequence. So a policy that has not
    moved from its reference does not give the reference's stored numbers to the last digit, and the sign of so small a
    log-ratio means nothing. While no step has moved the policy, the trainer hands the loss the policy's own numbers as
    the reference's: every log-ratio is exactly 0. From then on a loss whose gradient jumps somewhere asks whether
    its argument is further from that place than `chosen_noise` and `rejected_noise` (as `beyond` in
    `prefd.plugins.losses.logits` does); a smooth loss needs to ask nothing.
    """

    policy_chosen: Logprobs
    policy_rejected: Logprobs
    reference_chosen: Logprobs | None = None
    """None when the loss is reference-free."""
    reference_rejected: Logprobs | None = None
    noise: float = 0.0
    """How far rounding may put the log-ratio of one token from its value, in nats; of n tokens, √n times as far. Measured
    on some pairs when the job starts, with a margin; 0 where there is no reference.
    """
    desirable: mx.array | None = None
    """(B,) bool: the labels of single answers, which stand on the chosen side; None of pairs. See `UnpairedInput`."""

    @property
    def chosen_noise(self) -> mx.array:
        """Returns within how many nats a chosen answer's log-ratio, summed over its tokens, cannot be told from 0, (B,)."""
        return _scale_noise(self.policy_chosen, self.noise)

    @property
    def rejected_noise(self) -> mx.array:
        """Returns within how many nats a rejected answer's log-ratio, summed over its tokens, cannot be told from 0, (B,)."""
        return _scale_noise(self.policy_rejected, self.noise)


def _scale_noise(side: Logprobs, noise: float) -> mx.array:
    """(B,) Scales the noise of one token's log-ratio to that of each answer's."""
    return mx.sqrt(side.lengths) * float(noise)


@dataclass(frozen=True)
class LossOutput:
    """LossOutput holds the losses, rewards and metrics of a batch; each array is (B,), with no gradient through rewards or metrics."""

    losses: mx.array
    """Per pair; the trainer takes the mean."""
    chosen_rewards: mx.array
    """How much the loss believes each answer to be worth; with a reference, 0 where the policy equals it."""
    rejected_rewards: mx.array
    metrics: dict[str, mx.array] = field(default_factory=dict)
    """Extra metrics by name, none of `TRAINERS_METRICS`; the trainer logs their means."""


@dataclass(frozen=True)
class UnpairedInput:
    """UnpairedInput holds what a loss that declares `unpaired` sees of a batch of B answers, each with a label.

    `mismatched` is another answer behind the same prompt: one that the data has for another prompt, the same one in every
    epoch, so that the reference's numbers of it are cached too. Under it, log π/ref says how far the policy has moved in
    general, which KTO takes its rewards from.
    """

    policy: Logprobs
    policy_mismatched: Logprobs
    desirable: mx.array
    """(B,) bool: True for an answer that is a good one."""
    reference: Logprobs | None = None
    """None when the loss is reference-free."""
    reference_mismatched: Logprobs | None = None
    noise: float = 0.0
    """As in `LossInput`."""


@dataclass(frozen=True)
class UnpairedOutput:
    """UnpairedOutput holds the losses, rewards and metrics of a batch of answers; as in `LossOutput`, each array is (B,)."""

    losses: mx.array
    """Per answer, its weight in it; the trainer takes the mean."""
    rewards: mx.array
    """How much the loss believes each answer to be worth; with a reference, 0 where the policy equals it."""
    metrics: dict[str, mx.array] = field(default_factory=dict)
    """Extra metrics by name, none of `TRAINERS_METRICS`; the trainer logs their means."""


Loss = Callable[..., Any]
"""A dataclass type whose instances map `LossInput` to `LossOutput`, or a function that does it directly.

What a loss says of itself, as `ClassVar`s of the dataclass or through `declare` for a function:

- `needs_reference` (True): False where it ignores the reference; a job then has none to score.
- `batch_independent` (True): False where a pair's loss depends on the other pairs it is computed with, by a sort or a
  mean over the batch. The batch is then the micro-batch, so `batch_size` changes what is minimised, and accumulating
  gradients does not equal a larger batch. A loss keeps nothing from one call to the next: a resumed job would lose it.
- `unpaired` (False): True where it learns from single answers with a label; it maps `UnpairedInput` to `UnpairedOutput`.
- `needs_distribution` (False): True where it looks at `Logprobs.distribution` of the policy, which a job computes for it then.
- `preference` (True): False where it does not compare the two sides, as `sft`; a mixture reports another's rewards.
- `unchecked` ({}): checks of `prefd.plugins.conformance` that do not apply, each with the reason.
"""


F = TypeVar("F", bound=Callable[..., LossOutput | UnpairedOutput])


def declare(
    *,
    needs_reference: bool = True,
    batch_independent: bool = True,
    preference: bool = True,
    unpaired: bool = False,
    needs_distribution: bool = False,
    unchecked: Mapping[str, str] | None = None,
) -> Callable[[F], F]:
    """Declares the properties of a loss written as a function; a dataclass has `ClassVar`s of these names (`Loss`)."""
    declared = {
        "needs_reference": needs_reference,
        "batch_independent": batch_independent,
        "preference": preference,
        "unpaired": unpaired,
        "needs_distribution": needs_distribution,
        "unchecked": dict(unchecked or {}),
    }

    def mark(function: F) -> F:
        vars(function).update(declared)  # read back by prefd.plugins.schema and .conformance
        return function

    return mark


def reference_free(function: F) -> F:
    """Marks a loss written as a function as one that takes no reference: `declare(needs_reference=False)`."""
    return declare(needs_reference=False)(function)
