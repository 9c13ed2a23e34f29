"""Which tokens run together: completions of one prompt behind one pass over it, in batches of like length.

A completion is run as its *prefix*, every token of the prompt but the last, and its *segment*, from the prompt's last
token to the answer's last but one: the tokens whose outputs predict the answer. Completions with the same prefix share
its pass; a segment is right-padded to a multiple of 32.

With `slack` 0 a completion's numbers do not depend on what runs beside it: a prefix runs alone and unpadded, and only
segments of one padded length are batched. On a CPU they are then the same to the last bit (a matrix product splits its
sums by the padded length), so a policy that starts as the reference has log-ratios of exactly zero, and small batches
cost nothing there. On a GPU they do: a `slack` of 0.1 batches what is at most a tenth longer together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from prefd.daemon.worker.tokens import Completion

MULTIPLE = 32
Ints = npt.NDArray[np.int32]


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
    """(b, K) columns whose outputs predict the answer, the last one repeated up to a multiple of 32."""
    targets: Ints
    """(b, K) the token predicted at each place; 0 where it is a repetition."""


@dataclass(frozen=True, eq=False)
class Stem:
    """s different prefixes that run as one batch, left-padded to P tokens; P is 0 where there is nothing to share."""

    tokens: Ints
    """(s, P)"""
    padding: Ints
    """(s,) padded tokens at the left of each."""
    branches: list[Branch]


def padded(length: int) -> int:
    """`length` tokens up to the next multiple."""
    return -(-length // MULTIPLE) * MULTIPLE


def cost(completion: Completion) -> int:
    """Tokens that a completion's segment takes when it runs."""
    return padded(len(completion.ids) - completion.start)


def shared(completions: Sequence[Completion], slack: float = 0.0, stem_slack: float = 0.0) -> list[Stem]:
    """The plan in which every prefix runs once."""
    by_prefix: dict[bytes, list[int]] = {}
    for row, one in enumerate(completions):
        by_prefix.setdefault(one.ids[: one.start - 1].tobytes(), []).append(row)
    prefixes = sorted(by_prefix.values(), key=lambda rows: completions[rows[0]].start)
    starts = [completions[rows[0]].start - 1 for rows in prefixes]
    # Without slack, equal lengths would still share a matrix product whose height is theirs together.
    batches = [[at] for at in range(len(prefixes))] if stem_slack == 0 else list(_alike(starts, stem_slack))
    return [_stem(completions, [prefixes[at] for at in batch], slack) for batch in batches]


def apart(completions: Sequence[Completion], slack: float = 0.0) -> list[Stem]:
    """The plan in which every completion runs whole, its prompt with it."""
    lengths = [padded(len(one.ids) - 1) for one in completions]
    order = sorted(range(len(completions)), key=lengths.__getitem__)
    branches = [
        _branch(completions, [order[at] for at in batch], [0] * len(batch), 0)
        for batch in _alike([lengths[row] for row in order], slack)
    ]
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


def _stem(completions: Sequence[Completion], prefixes: Sequence[list[int]], slack: float) -> Stem:
    sizes = [completions[rows[0]].start - 1 for rows in prefixes]
    tokens = np.zeros((len(prefixes), max(sizes)), np.int32)
    for at, (rows, size) in enumerate(zip(prefixes, sizes)):
        tokens[at, tokens.shape[1] - size :] = completions[rows[0]].ids[:size]
    padding = np.array([tokens.shape[1] - size for size in sizes], np.int32)
    order = sorted(
        ((row, at) for at, rows in enumerate(prefixes) for row in rows), key=lambda one: cost(completions[one[0]])
    )
    branches = []
    for batch in _alike([cost(completions[row]) for row, _ in order], slack):
        picked = [order[at] for at in batch]
        branches.append(_branch(completions, [row for row, _ in picked], [at for _, at in picked], None))
    return Stem(tokens, padding, branches)


def _branch(completions: Sequence[Completion], rows: list[int], stem_rows: Sequence[int], begin: int | None) -> Branch:
    """`rows` from token `begin` on, or from their prompts' last token."""
    picked = [completions[row] for row in rows]
    firsts = [one.start - 1 if begin is None else begin for one in picked]
    width = max(padded(len(one.ids) - 1 - first) for one, first in zip(picked, firsts))
    answers = [len(one.ids) - one.start for one in picked]
    height = max(padded(answer) for answer in answers)
    tokens = np.zeros((len(rows), width), np.int32)
    places = np.zeros((len(rows), height), np.int32)
    targets = np.zeros((len(rows), height), np.int32)
    for at, (one, first, answer) in enumerate(zip(picked, firsts, answers)):
        tokens[at, : len(one.ids) - 1 - first] = one.ids[first:-1]
        places[at] = one.start - 1 - first + np.minimum(np.arange(height), answer - 1)
        targets[at, :answer] = one.ids[one.start :]
    return Branch(rows, np.array(stem_rows, np.int32), tokens, places, targets)


def _alike(lengths: Sequence[int], slack: float) -> Iterator[list[int]]:
    """Indices into ascending `lengths`, in runs that waste at most `slack` of their tokens when padded to the longest."""
    run: list[int] = []
    tokens = 0
    for at, length in enumerate(lengths):
        if run and length * (len(run) + 1) > (1 + slack) * (tokens + length):
            yield run
            run, tokens = [], 0
        run.append(at)
        tokens += length
    if run:
        yield run
