"""Finds what someone should look at in a pair before training on it; `--worst` ranks pairs by these.

None of it makes a pair unusable: an answer may well be long, or differ from the other in one word. By gravity: an answer
that was cut, an answer whose tokens are not what one text would give, turns inside an answer, answers that hardly differ,
answers of very different length. Only token ids are looked at, so that ranking a large dataset takes seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from prefd.daemon.worker.data.tokens import Completion, Example

CUT, APART, TURNS, HARDLY_DIFFER, UNEVEN = 5, 4, 3, 2, 1
"""How grave each remark is."""
ALIKE = 0.2
"""Answers differ in less than this share of the longer one's tokens, and are no shorter than FEW."""
FEW = 10
LOPSIDED = 8
"""One answer has at least so many times the other's tokens, and more than FEW times LOPSIDED."""


class Remark(NamedTuple):
    """Remark is one thing to look at in a pair, and how grave it is."""

    gravity: int
    amount: float
    """Of two remarks of one gravity, the larger is worse."""
    text: str


def find_remarks(example: Example, special: Collection[int], max_length: int) -> list[Remark]:
    """Lists the remarks on a pair, the gravest first."""
    remarks = [*_remarks_on_answers(example, special, max_length), *_remarks_on_pair(example)]
    return sorted(remarks, key=lambda remark: (-remark.gravity, -remark.amount))


def rank(example: Example, special: Collection[int], max_length: int) -> tuple[int, float, int]:
    """Gives the key that sorts pairs, the worst last: by their gravest remark, then by length."""
    length = len(example.chosen) + len(example.rejected)
    worst = next(iter(find_remarks(example, special, max_length)), Remark(0, 0, ""))
    return worst.gravity, worst.amount, length


def find_cut(example: Example, max_length: int) -> tuple[float, str] | None:
    """Finds an answer that was cut: how many tokens, and what there is to say; None where both are whole."""
    return _pick(CUT, _remarks_on_answers(example, (), max_length))


def find_alike(example: Example) -> tuple[float, str] | None:
    """Finds answers that hardly differ: which share of their tokens is the same, and what there is to say; None where they do."""
    return _pick(HARDLY_DIFFER, _remarks_on_pair(example))


def _pick(gravity: int, remarks: Iterable[Remark]) -> tuple[float, str] | None:
    """Picks the largest of the remarks of one gravity."""
    those = [remark for remark in remarks if remark.gravity == gravity]
    return max(((remark.amount, remark.text) for remark in those), default=None)


def _remarks_on_answers(example: Example, special: Collection[int], max_length: int) -> Iterator[Remark]:
    for name, side in (("chosen", example.chosen), ("rejected", example.rejected)):
        if side.cut:
            lost_tokens = f"{side.cut:,} {'token' if side.cut == 1 else 'tokens'}"
            text = f"{name} is cut at max_length {max_length}: {lost_tokens} left out, its end-of-turn token among them"
            yield Remark(CUT, side.cut, text)
        if side.apart:
            text = f"{name} is tokenized apart from the prompt: as one text, the two would merge or change"
            yield Remark(APART, len(side), text)
        special_tokens = [token for token in side.ids[side.start : -1].tolist() if token in special]
        if special_tokens and side.own_mask is None:  # whose turns are told apart
            yield Remark(TURNS, len(special_tokens), f"{name} has special tokens before its end: more than one turn?")


def _remarks_on_pair(example: Example) -> Iterator[Remark]:
    chosen, rejected = (side.ids[side.start :] for side in (example.chosen, example.rejected))
    short, long = sorted((len(chosen), len(rejected)))
    shared_count = _common_start(example.chosen, example.rejected)
    shared_count += min(_same_start(chosen[shared_count:][::-1], rejected[shared_count:][::-1]), short - shared_count)
    if short >= FEW and long - shared_count < ALIKE * long:
        yield Remark(
            HARDLY_DIFFER, shared_count / long, f"the answers differ in {long - shared_count} of {long} tokens"
        )
    if long > FEW * LOPSIDED and long >= LOPSIDED * short:
        longer = "chosen" if len(chosen) > len(rejected) else "rejected"
        yield Remark(UNEVEN, long / short, f"{longer} is {long / short:.0f} times as long as the other answer")


def _common_start(chosen: Completion, rejected: Completion) -> int:
    return _same_start(chosen.ids[chosen.start :], rejected.ids[rejected.start :])


def _same_start(first: np.typing.NDArray[np.uint32], second: np.typing.NDArray[np.uint32]) -> int:
    """Says how many tokens both begin with."""
    length = min(len(first), len(second))
    differing = np.flatnonzero(first[:length] != second[:length])
    return int(differing[0]) if len(differing) else length
