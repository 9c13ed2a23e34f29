"""Which tokens run together: completions of one prompt behind one pass over it, in batches of like length.

A completion is run as its *prefix*, every token of the prompt but the last, and its *segment*, from the prompt's last
token to the answer's last but one: the tokens whose outputs predict the answer. Completions with the same prefix share
its pass; a segment is right-padded. What is batched, and how unlike the lengths in a batch may be, is a `Slack`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prefd.daemon.worker.data.tokens import Completion

MULTIPLE = 8
SHORTEST = 32
"""Tokens that a segment is padded to at least: over fewer a BLAS may use other kernels, which round otherwise."""
Ints = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Slack:
    """What is batched, padded to the longest."""

    share: float = 0.0
    """The share of padding, of the tokens that are none, up to which unlike lengths are."""
    shortest: int = 0
    """A sequence of fewer tokens runs alone."""
    longest: float = math.inf
    """And so does one of more, its prompt included."""
    unlike_prompts: bool = True
    """Whether prompts of unlike lengths are, padded at the left."""


GPU = Slack(0.1)
CPU = Slack(0.25, longest=256)
"""Four passes over 64 tokens take a third longer than one over them all; from 256 on there is nothing to gain."""
SAME_BITS = {
    "all": Slack(0.25, SHORTEST, 256),
    "but unlike prompts": Slack(0.25, SHORTEST, 256, unlike_prompts=False),
}
"""The parts of it in which a completion may have the same numbers to the last bit whatever runs beside it, the wider first.

Which holds depends on the kernel at hand: `kernels.py` has it tried. Some look at the number of rows, others at where in a
padded row a prompt begins; and all of OpenBLAS's split longer sums, those of attention, by their padded length.
"""
EQUAL = Slack()


@dataclass(frozen=True, eq=False)
class Branch:
    """b segments that run as one batch, L tokens each with their padding."""

    rows: list[int]
    """(b,) which of the completions these are."""
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
    """s different prefixes that run as one batch, left-padded to P tokens; P is 0 where there is nothing to share."""

    tokens: Ints
    """(s, P)"""
    padding: Ints
    """(s,) padded tokens at the left of each."""
    branches: list[Branch]


def padded(length: int) -> int:
    """What `length` tokens of a segment are padded to."""
    return max(SHORTEST, -(-length // MULTIPLE) * MULTIPLE)


def cost(completion: Completion) -> int:
    """Tokens that a completion's segment takes when it runs."""
    return padded(len(completion.ids) - completion.start)


def shared(completions: Sequence[Completion], slack: Slack = EQUAL, stem_slack: Slack = EQUAL) -> list[Stem]:
    """The plan in which every prefix runs once."""
    by_prefix: dict[bytes, list[int]] = {}
    for row, one in enumerate(completions):
        by_prefix.setdefault(one.ids[: one.start - 1].tobytes(), []).append(row)
    prefixes = list(by_prefix.values())
    starts = [completions[rows[0]].start - 1 for rows in prefixes]
    reaches = [start + max(cost(completions[row]) for row in rows) for start, rows in zip(starts, prefixes)]
    together = _together(starts, reaches, stem_slack)
    return [_stem(completions, [prefixes[at] for at in batch], slack) for batch in together]


def apart(completions: Sequence[Completion], slack: Slack = EQUAL) -> list[Stem]:
    """The plan in which every completion runs whole, its prompt with it."""
    lengths = [padded(len(one.ids) - 1) for one in completions]
    branches = [_branch(completions, rows, [0] * len(rows), 0) for rows in _together(lengths, lengths, slack)]
    nothing = np.zeros((0, 0), np.int32)
    return [Stem(nothing, np.zeros(0, np.int32), branches)]


def batches(completions: Sequence[Completion], budget: int) -> list[list[int]]:
    """Indices into `completions` in batches of at most `budget` tokens, the longest first (so that memory runs out at
    once or not at all). Answers to one prompt stay together where they fit.
    """
    families: dict[bytes, list[int]] = {}
    for row, one in enumerate(completions):
        families.setdefault(one.ids[: one.start - 1].tobytes(), []).append(row)
    for rows in families.values():
        rows.sort(key=lambda row: -len(completions[row].ids))
    made: list[list[int]] = []
    left = 0
    for rows in sorted(families.values(), key=lambda rows: -len(completions[rows[0]].ids)):
        prompt = completions[rows[0]].start - 1
        whole = prompt + sum(cost(completions[row]) for row in rows)
        if whole > left:
            made.append([])
            left = budget
        left -= prompt
        for row in rows:
            if made[-1] and cost(completions[row]) > left:
                made.append([])
                left = budget - prompt
            made[-1].append(row)
            left -= cost(completions[row])
    return made


def _stem(completions: Sequence[Completion], prefixes: Sequence[list[int]], slack: Slack) -> Stem:
    sizes = [completions[rows[0]].start - 1 for rows in prefixes]
    tokens = np.zeros((len(prefixes), max(sizes)), np.int32)
    for at, (rows, size) in enumerate(zip(prefixes, sizes)):
        tokens[at, tokens.shape[1] - size :] = completions[rows[0]].ids[:size]
    padding = np.array([tokens.shape[1] - size for size in sizes], np.int32)
    continued = [(row, at) for at, rows in enumerate(prefixes) for row in rows]
    lengths = [cost(completions[row]) for row, _ in continued]
    branches = [
        _branch(completions, [continued[at][0] for at in batch], [continued[at][1] for at in batch], None)
        for batch in _together(lengths, [tokens.shape[1] + length for length in lengths], slack)
    ]
    return Stem(tokens, padding, branches)


def _branch(completions: Sequence[Completion], rows: list[int], stem_rows: Sequence[int], begin: int | None) -> Branch:
    """`rows` from token `begin` on, or from their prompts' last token."""
    picked = [completions[row] for row in rows]
    firsts = [one.start - 1 if begin is None else begin for one in picked]
    width = max(padded(len(one.ids) - 1 - first) for one, first in zip(picked, firsts))
    tokens = np.zeros((len(rows), width), np.int32)
    places = []
    for at, (one, first) in enumerate(zip(picked, firsts)):
        tokens[at, : len(one.ids) - 1 - first] = one.ids[first:-1]
        places.append(at * width + np.arange(one.start - 1 - first, len(one.ids) - 1 - first, dtype=np.int32))
    targets = np.concatenate([one.ids[one.start :] for one in picked]).astype(np.int32)
    return Branch(rows, np.array(stem_rows, np.int32), tokens, np.concatenate(places), targets)


def _together(lengths: Sequence[int], reaches: Sequence[int], slack: Slack) -> Iterator[list[int]]:
    """Indices into `lengths` in batches. `reaches`: tokens of the longest sequence that each is part of."""
    batched: list[int] = []
    for at in sorted(range(len(lengths)), key=lengths.__getitem__):
        if lengths[at] >= slack.shortest and reaches[at] <= slack.longest:
            batched.append(at)
        else:
            yield [at]
    yield from ([batched[at] for at in run] for run in _alike([lengths[at] for at in batched], slack.share))


def _alike(lengths: Sequence[int], share: float) -> Iterator[list[int]]:
    """Indices into ascending `lengths`, in runs that waste at most `share` of their tokens when padded to the longest."""
    run: list[int] = []
    tokens = 0
    for at, length in enumerate(lengths):
        if run and length * (len(run) + 1) > (1 + share) * (tokens + length):
            yield run
            run, tokens = [], 0
        run.append(at)
        tokens += length
    if run:
        yield run
