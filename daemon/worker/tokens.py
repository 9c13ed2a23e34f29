"""Pairs → token ids. What is trained on, and what a cache entry is keyed by, is decided here and in `prompts.py`.

The rules:

1. The texts are `prompts.py`'s. A chat template's text has its own special tokens and gets no others; plain text gets
   those that the tokenizer puts before a text (BOS), and none after it. A BOS at the start is never there twice.
2. Both sides of an example begin with exactly the same prompt tokens: those of the prompt's text alone, as in
   generation. The prompt is not assumed to be a token prefix of prompt + answer: where it is not (the two merge at the
   boundary), the answer is tokenized alone and set behind the prompt's tokens. Such rows are counted (`boundary`), and
   so are those whose prompt the template changes when an answer follows.
3. An answer ends with EOS exactly once.
4. What is longer than `max_length` is cut at the end, and counted (`truncated`). A cut answer gets no EOS: it does not
   end there. A prompt is never cut: a row whose prompt leaves no room for the answer is unusable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from prefd.daemon.worker.prompts import Answer, ChatTokenizer, Prompter
from prefd.plugins.types import Pair, Text, UnusableRow


@dataclass(frozen=True, eq=False)
class Completion:
    """One side of a pair: the tokens of the prompt and of the answer to it."""

    ids: NDArray[np.uint32]
    """(n,) read-only."""
    start: int
    """Index of the answer's first token; 1 ≤ start < n."""
    cut: int = 0
    """How many tokens `max_length` has taken from the end, EOS included."""
    apart: bool = False
    """Whether the answer was set behind its prompt by rule 2."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Completion) and self.start == other.start and np.array_equal(self.ids, other.ids)

    def __hash__(self) -> int:
        return hash((self.start, self.ids.tobytes()))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def prompt(self) -> NDArray[np.uint32]:
        """(start,)"""
        return self.ids[: self.start]

    @property
    def own(self) -> NDArray[np.bool_]:
        """(n − start,) which of the answer's tokens count: all of them."""
        return np.ones(len(self.ids) - self.start, np.bool_)


@dataclass(frozen=True)
class Example:
    """A pair ready to be scored and trained on; both sides begin with the same prompt tokens."""

    row: int
    """1-based, in the order of the files."""
    chosen: Completion
    rejected: Completion
    place: str = field(default="", compare=False)
    """Where its row stands, as `pairs.jsonl:4`."""

    def __str__(self) -> str:
        return self.place or f"row {self.row}"


def places(examples: Sequence[Example]) -> str:
    """Where the rows of `examples` stand, for a message."""
    return ", ".join(dict.fromkeys(map(str, sorted(examples, key=lambda each: each.row))))


class Encoder:
    """Tokenizes pairs for one tokenizer and one length limit, and counts what it had to do to them.

    Raises ValueError for a tokenizer without EOS.
    """

    def __init__(self, tokenizer: ChatTokenizer, max_length: int) -> None:
        self.truncated = 0
        """Rows with a side that was cut."""
        self.boundary = 0
        """Rows with an answer set behind its prompt by rule 2."""
        self._tokenizer = tokenizer
        self._prompter = Prompter(tokenizer)
        self._max_length = max_length
        self._opening = [] if self._prompter.is_chat else _opening(tokenizer)

    def encode(self, pair: Pair, row: int) -> Example:
        """The tokens of `pair`. Raises `UnusableRow`, and counts nothing then."""
        prompt, sides = self._sides(pair)
        if sides[0].ids == sides[1].ids:
            raise UnusableRow("identical sides")
        self._check_room(prompt)
        kept = [side.ids[: self._max_length] for side in sides]
        if kept[0] == kept[1]:
            raise UnusableRow("identical after truncation")
        chosen, rejected = (_completion(side, len(prompt), self._max_length) for side in sides)
        self.truncated += bool(chosen.cut or rejected.cut)
        self.boundary += chosen.apart or rejected.apart
        return Example(row, chosen, rejected)

    def completion(self, prompt: Text, answer: Text) -> Completion:
        """The tokens of one answer, as those of a pair's side. Raises `UnusableRow`, and counts nothing."""
        prompt_ids, sides = self._sides(Pair(prompt, answer, answer))
        self._check_room(prompt_ids)
        return _completion(sides[0], len(prompt_ids), self._max_length)

    def _sides(self, pair: Pair) -> tuple[list[int], list[_Side]]:
        """The prompt's tokens, and both sides before truncation."""
        texts = self._prompter.texts(pair)
        prompt = self._ids(texts.prompt, first=True)
        if not prompt:
            raise UnusableRow("empty prompt")
        return prompt, [self._side(texts.prompt, prompt, answer) for answer in (texts.chosen, texts.rejected)]

    def _check_room(self, prompt: list[int]) -> None:
        if len(prompt) >= self._max_length:
            raise UnusableRow("nothing left after truncation")

    def _side(self, prompt_text: str, prompt: list[int], answer: Answer) -> _Side:
        ids = self._ids(prompt_text + answer.text, first=True)
        apart = ids[: len(prompt)] != prompt
        if apart:
            ids = prompt + self._ids(answer.text)
        if len(ids) == len(prompt):
            raise UnusableRow("empty completion")
        return _Side([*ids, answer.eos], apart or answer.composed)

    def _ids(self, text: str, first: bool = False) -> list[int]:
        """Tokens of `text`; of a text that comes `first`, with what the tokenizer opens a text with, and one BOS."""
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UnusableRow("not valid Unicode") from None
        ids = self._tokenizer.encode(text, add_special_tokens=False)
        if not first:
            return ids
        ids = self._opening + ids
        bos = self._tokenizer.bos_token_id
        while bos is not None and ids[:2] == [bos, bos]:
            ids = ids[1:]
        return ids


@dataclass(frozen=True)
class _Side:
    ids: list[int]
    """Prompt, answer and EOS, before truncation."""
    apart: bool
    """Whether the answer was set behind the prompt by rule 2."""


def _opening(tokenizer: ChatTokenizer) -> list[int]:
    """The special tokens that `tokenizer` puts before a text."""
    bare = tokenizer.encode("a", add_special_tokens=False)
    full = tokenizer.encode("a", add_special_tokens=True)
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start]
    return []


def _completion(side: _Side, start: int, max_length: int) -> Completion:
    array = np.array(side.ids[:max_length], dtype=np.uint32)
    array.flags.writeable = False
    return Completion(array, start, max(len(side.ids) - max_length, 0), side.apart)
