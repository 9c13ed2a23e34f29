"""Plans which tokens run together: completions of one prompt behind one pass over it, in batches of like length.

A completion is run as its *prefix*, every token of the prompt but the last, and its *segment*, from the prompt's last
token to the answer's last but one: the tokens whose outputs predict the answer. Completions with the same prefix share
its pass; a segment is right-padded. `Slack` says which sequences are batched, and how unlike their lengths may be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prefd.daemon.worker.data.tokens import Completion

MULTIPLE = 8
LONG = 512
SHORTEST = 32
"""Tokens that a segment is padded to at least: over fewer a BLAS may use other kernels, which round otherwise."""
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Slack:
    """Slack says which sequences share a batch, padded to its longest."""

    share: float = 0.0
    """Unlike lengths share a batch up to this ratio of padding to real tokens."""
    shortest: int = 0
    """A sequence of fewer tokens runs alone."""
    longest: float = math.inf
    """A sequence of more tokens, its prompt included, runs alone too."""
    unlike_prompts: bool = True
    """Whether prompts of unlike lengths share a batch, padded at the left."""
    long_multiple: int = MULTIPLE
    """Segments of more than LONG tokens are padded to a multiple of this."""


METAL = Slack(0.1)
CUDA = Slack(1.0, long_multiple=128)
"""A large card takes as long for a small pass as for one of twice the tokens, for it waits for the next kernel; and cuDNN's
attention has a backward pass for multiples of 128 only, in whose place MLX computes all scores. By source, not measured."""
CPU = Slack(0.25, longest=256)
"""Four passes over 64 tokens take a third longer than one over them all; from 256 on there is nothing to gain."""
SAME_BITS = {
    "all": Slack(0.25, SHORTEST, 256),
    "but unlike prompts": Slack(0.25, SHORTEST, 256, unlike_prompts=False),
}
"""The parts of `CPU` in which a completion may have the same numbers to the last bit whatever runs beside it, the wider first.

Which holds depends on the kernel at hand: `kernels.py` has it tried. Some look at the number of rows, others at where in a
padded row a prompt begins; and all of OpenBLAS's split longer sums, those of attention, by their padded length.
"""
EQUAL = Slack()


@dataclass(frozen=True, eq=False)
class Branch:
    """Branch holds b segments that run as one batch, L tokens each with their padding."""

    rows: list[int]
    """(b,) indices of the completions that the rows are."""
    stem_rows: Ints
    """(b,) the row of the stem that each goes on from."""
    tokens: Ints
    """(b, L) token ids, 0 behind the end: attention is causal, so nothing before the end sees them."""
    places: Ints
    """(n,) indices into the b·L outputs: those that predict a token of an answer, answer after answer."""
    targets: Ints
    """(n,) the token that each predicts."""


@dataclass(frozen=True, eq=False)
class Stem:
    """Stem holds s different prefixes that run as one batch, left-padded to P tokens; P is 0 where there is nothing to share."""

    tokens: Ints
    """(s, P)"""
    padding: Ints
    """(s,) padded tokens at the left of each."""
    branches: list[Branch]


def pad_length(length: int) -> int:
    """Return the number of tokens that a segment of `length` is padded to."""
    return max(SHORTEST, -(-length // MULTIPLE) * MULTIPLE)


def count_segment_tokens(completion: Completion) -> int:
    """Count the tokens that a completion's segment takes when it runs, its padding included."""
    return pad_length(len(completion.ids) - completion.start)


def plan_shared(completions: Sequence[Completion], slack: Slack = EQUAL, stem_slack: Slack = EQUAL) -> list[Stem]:
    """Plan to run every prefix once, for all its completions."""
    by_prefix: dict[bytes, list[int]] = {}
    for row, completion in enumerate(completions):
        by_prefix.setdefault(completion.ids[: completion.start - 1].tobytes(), []).append(row)
    prefixes = list(by_prefix.values())
    starts = [completions[rows[0]].start - 1 for rows in prefixes]
    reaches = [
        start + max(count_segment_tokens(completions[row]) for row in rows) for start, rows in zip(starts, prefixes)
    ]
    batches_of_prefixes = _batch_by_length(starts, reaches, stem_slack)
    return [_make_stem(completions, [prefixes[index] for index in batch], slack) for batch in batches_of_prefixes]


def plan_apart(completions: Sequence[Completion], slack: Slack = EQUAL) -> list[Stem]:
    """Plan to run every completion whole, its prompt with it."""
    lengths = [pad_length(len(completion.ids) - 1) for completion in completions]
    branches = [
        _make_branch(completions, rows, [0] * len(rows), 0, slack) for rows in _batch_by_length(lengths, lengths, slack)
    ]
    no_tokens = np.zeros((0, 0), np.int32)
    return [Stem(no_tokens, np.zeros(0, np.int32), branches)]


def batch_completions(completions: Sequence[Completion], budget: int) -> list[list[int]]:
    """Cut `completions` into batches of at most `budget` tokens, as indices.

    The longest come first, so that memory runs out at once or not at all. Answers to one prompt stay together where they fit.
    """
    families: dict[bytes, list[int]] = {}
    for row, completion in enumerate(completions):
        families.setdefault(completion.ids[: completion.start - 1].tobytes(), []).append(row)
    for rows in families.values():
        rows.sort(key=lambda row: -len(completions[row].ids))
    batches: list[list[int]] = []
    remaining = 0
    for rows in sorted(families.values(), key=lambda rows: -len(completions[rows[0]].ids)):
        prompt = completions[rows[0]].start - 1
        family_tokens = prompt + sum(count_segment_tokens(completions[row]) for row in rows)
        if family_tokens > remaining:
            batches.append([])
            remaining = budget
        remaining -= prompt
        for row in rows:
            if batches[-1] and count_segment_tokens(completions[row]) > remaining:
                batches.append([])
                remaining = budget - prompt
            batches[-1].append(row)
            remaining -= count_segment_tokens(completions[row])
    return batches


def _make_stem(completions: Sequence[Completion], prefixes: Sequence[list[int]], slack: Slack) -> Stem:
    sizes = [completions[rows[0]].start - 1 for rows in prefixes]
    tokens = np.zeros((len(prefixes), max(sizes)), np.int32)
    for stem_row, (rows, size) in enumerate(zip(prefixes, sizes)):
        tokens[stem_row, tokens.shape[1] - size :] = completions[rows[0]].ids[:size]
    padding = np.array([tokens.shape[1] - size for size in sizes], np.int32)
    segments = [(row, stem_row) for stem_row, rows in enumerate(prefixes) for row in rows]
    lengths = [count_segment_tokens(completions[row]) for row, _ in segments]
    branches = [
        _make_branch(
            completions,
            [segments[stem_row][0] for stem_row in batch],
            [segments[stem_row][1] for stem_row in batch],
            None,
            slack,
        )
        for batch in _batch_by_length(lengths, [tokens.shape[1] + length for length in lengths], slack)
    ]
    return Stem(tokens, padding, branches)


def _make_branch(
    completions: Sequence[Completion], rows: list[int], stem_rows: Sequence[int], first_token: int | None, slack: Slack
) -> Branch:
    """Make the branch of `rows`, from token `first_token` on, or from their prompts' last token."""
    branch_completions = [completions[row] for row in rows]
    first_tokens = [completion.start - 1 if first_token is None else first_token for completion in branch_completions]
    width = max(
        pad_length(len(completion.ids) - 1 - first_token_of)
        for completion, first_token_of in zip(branch_completions, first_tokens)
    )
    if width > LONG:
        width = -(-width // slack.long_multiple) * slack.long_multiple
    tokens = np.zeros((len(rows), width), np.int32)
    places = []
    for index, (completion, first_token_of) in enumerate(zip(branch_completions, first_tokens)):
        tokens[index, : len(completion.ids) - 1 - first_token_of] = completion.ids[first_token_of:-1]
        places.append(
            index * width
            + np.arange(completion.start - 1 - first_token_of, len(completion.ids) - 1 - first_token_of, dtype=np.int32)
        )
    targets = np.concatenate([completion.ids[completion.start :] for completion in branch_completions]).astype(np.int32)
    return Branch(rows, np.array(stem_rows, np.int32), tokens, np.concatenate(places), targets)


def _batch_by_length(lengths: Sequence[int], reaches: Sequence[int], slack: Slack) -> Iterator[list[int]]:
    """Batch `lengths`, as indices. `reaches`: tokens of the longest sequence that each is part of."""
    batched: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if lengths[index] >= slack.shortest and reaches[index] <= slack.longest:
            batched.append(index)
        else:
            yield [index]
    yield from (
        [batched[index] for index in run]
        for run in _group_by_length([lengths[index] for index in batched], slack.share)
    )


def _group_by_length(lengths: Sequence[int], share: float) -> Iterator[list[int]]:
    """Group ascending `lengths`, as indices, in runs that waste at most `share` of their tokens when padded to the longest."""
    run: list[int] = []
    tokens = 0
    for index, length in enumerate(lengths):
        if run and length * (len(run) + 1) > (1 + share) * (tokens + length):
            yield run
            run, tokens = [], 0
        run.append(index)
        tokens += length
    if run:
        yield run
