"""Tokenizes pairs. What is trained on, and what a cache entry is keyed by, is decided here and in `prompts.py`.

The rules:

1. The texts are `prompts.py`'s. A chat template's text has its own special tokens and gets no others; plain text gets
   those that the tokenizer puts before a text (BOS), and none after it. A BOS at the start is never there twice.
2. Both sides of an example begin with exactly the same prompt tokens: those of the prompt's text alone, as in
   generation. The prompt is not assumed to be a token prefix of prompt + answer: where it is not (the two merge at the
   boundary), the answer is tokenized alone and set behind the prompt's tokens. Such rows are counted (`boundary`), and
   so are those whose prompt the template changes when an answer follows.
3. An answer ends with EOS exactly once.
4. Of an answer of several turns only the assistant's own tokens count (`Completion.own_mask`): all of them are scored, and
   the mask is applied where the numbers are read.
5. What is longer than `max_length` is cut at the end, and counted (`truncated`). A cut answer gets no EOS: it does not
   end there. A prompt is never cut: a row whose prompt leaves no room for the answer is unusable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefd.daemon.worker.data.prompts import AnswerText, ChatTokenizer, Prompter, Settings
from prefd.daemon.worker.data.spans import Span
from prefd.plugins.formats.messages import uniform_message
from prefd.plugins.formats.nulls import NOTHING, decided, unsure_keys
from prefd.plugins.types import Pair, Text, UnclearRow, UnusableRow

REMARKS = {
    "rewritten": (
        "whose prompt the chat template writes otherwise when an answer follows: the answer is set behind the prompt as "
        "generation has it"
    ),
    "turns": "whose answer has several turns: only the assistant's own tokens count",
    "shared": (
        "whose sides begin with the same turns: they are read and not learned, as the sides differ only behind them"
    ),
    "weightless": "with a message of weight 0 in a side: it is read and not learned",
    "prefill": "whose prompt ends with an assistant's turn: the answer is another turn behind it, and not its end",
    "thinking": (
        "whose answer does not close the thinking block that the prompt opens: the model learns to answer inside it; close "
        "it in the data, or switch thinking off where the template can (data.chat_template_kwargs)"
    ),
    "second_thinking": (
        "whose answer opens a thinking block behind the one that the prompt has closed: take it out of the data, or switch "
        "thinking on where the template can (data.chat_template_kwargs)"
    ),
    "media": (
        "whose prompt holds the place of an image, a sound or a film ('<image>'), which prefd does not train on: leave such rows out"
    ),
    "foreign": (
        "whose prompt holds the markup of another model's chat template, which is plain text to this one: give the rows "
        "without it"
    ),
    "foreign_sides": (
        "with a side that holds the markup of another model's chat template or ends with a token that ends no answer of this "
        "model's, and the model would learn to write it: give the rows without it"
    ),
    "repeats": (
        "whose sides both begin with their prompt, which the model would learn to repeat: take it out of chosen and rejected"
    ),
    "repeats_once": (
        "of which one side begins with its prompt and the other does not, which the model would learn of the two: take it out"
    ),
}
"""What is said of pairs that have something to them, behind their number."""


@dataclass(frozen=True, eq=False)
class Completion:
    """Completion is one side of a pair: the tokens of the prompt and of the answer to it."""

    ids: NDArray[np.uint32]
    """(n,) read-only."""
    start: int
    """Index of the answer's first token; 1 ≤ start < n."""
    cut: int = 0
    """How many tokens `max_length` has taken from the end, EOS included."""
    apart: bool = False
    """Whether the answer was set behind its prompt by rule 2."""
    own_mask: NDArray[np.bool_] | None = None
    """(n − start,) read-only: which of the answer's tokens are the assistant's own; None: all are."""

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Completion)
            and self.start == other.start
            and np.array_equal(self.ids, other.ids)
            and np.array_equal(self.own, other.own)
        )

    def __hash__(self) -> int:
        return hash((self.start, self.ids.tobytes()))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def prompt(self) -> NDArray[np.uint32]:
        """Returns the prompt's tokens, (start,)."""
        return self.ids[: self.start]

    @property
    def own(self) -> NDArray[np.bool_]:
        """Returns a mask of the answer's tokens that are the assistant's own, (n − start,)."""
        return np.ones(len(self.ids) - self.start, np.bool_) if self.own_mask is None else self.own_mask


@dataclass(frozen=True)
class Example:
    """Example is a pair ready to be scored and trained on; both sides begin with the same prompt tokens."""

    row: int
    """1-based, in the order of the files."""
    chosen: Completion
    rejected: Completion
    place: str = field(default="", compare=False)
    """Where its row stands, as `pairs.jsonl:4`."""
    digest: str = field(default="", compare=False)
    """The digest of its texts, by which `data.exclude` names it."""
    desirable: bool | None = None
    """The label of a single answer, which stands as `chosen`; `rejected` is then an answer to another prompt. None of a pair."""

    def __str__(self) -> str:
        return self.place or f"row {self.row}"


def list_places(examples: Sequence[Example]) -> str:
    """Names the places of the rows of `examples`, for a message."""
    return ", ".join(dict.fromkeys(map(str, sorted(examples, key=lambda example: example.row))))


class Encoder:
    """Tokenizes pairs for one tokenizer and one length limit, and counts what it had to do to them.

    Raises ValueError for a tokenizer without EOS.
    """

    def __init__(self, tokenizer: ChatTokenizer, max_length: int, settings: Settings | None = None) -> None:
        self.truncated = 0
        """Rows with a side that was cut."""
        self.boundary = 0
        """Rows with an answer set behind its prompt by rule 2."""
        self.merged = 0
        """Those of them where the tokens at the boundary would have merged."""
        self._tokenizer = tokenizer
        self._prompter = Prompter(tokenizer, settings)
        self._max_length = max_length
        self._opening = [] if self._prompter.is_chat else _opening(tokenizer)
        self._remarks: Counter[str] = Counter()

    def encode(self, pair: Pair, row: int) -> Example:
        """Tokenizes `pair`. Raises `UnusableRow`, and counts nothing then."""
        prompt, sides, remarks = self._certain_sides(pair)
        certain = decided(pair, lambda *_: NOTHING)
        if sides[0].ids == sides[1].ids or certain.chosen == certain.rejected:
            raise UnusableRow("identical sides")
        self._check_room(prompt)
        cut_ids = [side.ids[: self._max_length] for side in sides]
        if cut_ids[0] == cut_ids[1]:
            raise UnusableRow("identical after truncation")
        chosen, rejected = (self._completion(side, len(prompt)) for side in sides)
        if not (chosen.own.any() and rejected.own.any()):
            raise UnusableRow("nothing of the assistant's own is left of a side after truncation")
        if np.array_equal(_own_ids(chosen), _own_ids(rejected)):
            raise UnusableRow("the assistant says the same on both sides")
        self.truncated += bool(chosen.cut or rejected.cut)
        self.boundary += chosen.apart or rejected.apart
        self.merged += any(side.merged for side in sides)
        self._remarks.update(remarks)
        return Example(row, chosen, rejected, desirable=pair.desirable)

    def completion(self, prompt: Text, answer: Text) -> Completion:
        """Tokenizes one answer as a pair's side is. Raises `UnusableRow`, and counts nothing."""
        prompt, answer = _uniform(prompt), _uniform(answer)
        prompt_ids, sides, _ = self._sides(Pair(prompt, answer, answer))
        self._check_room(prompt_ids)
        return self._completion(sides[0], len(prompt_ids))

    @property
    def template_arguments(self) -> frozenset[str]:
        """Returns the arguments that the chat template reads beside the chat itself; none where it is not used."""
        return self._prompter.template.own_arguments if self._prompter.is_chat else frozenset()

    def notes(self) -> list[str]:
        """Writes what the data's owner should know of the pairs so far, a line each."""
        template, settings = self._prompter.template, self._prompter.settings
        lines = []
        if template.prints_date or template.reads_clock:
            does = "prints the date" if template.prints_date else "reads the clock"
            lines.append(
                f"the chat template {does}; prompts are rendered as of {_format_date(settings.moment)} (data.date)"
            )
        if template.reads_surroundings:
            lines.append("the chat template reads the environment; prompts are rendered in an empty one")
        if template.draws:
            lines.append("the chat template draws at random; every prompt is rendered with the same draw")
        if self._remarks["transcript"]:
            why = "data.chat_template is none" if settings.template == "none" else "the tokenizer has no chat template"
            lines.append(f"{why}: messages are written as Human:/Assistant:{self._prompter.overlooked}")
        if self._prompter.unread_arguments:
            lines.append(
                f"chat_template_kwargs that the chat template does not read: {', '.join(self._prompter.unread_arguments)}"
            )
        if self._prompter.unread_keys:
            lines.append(
                f"keys of messages that the chat template does not read: {', '.join(self._prompter.unread_keys)}"
            )
        if ending := self._prompter.stray_ending:
            lines.append(
                f"the chat template ends an answer with {ending!r}, which is no EOS of the model's: answers end with another "
                "token behind it; add it to eos_token_id in the model's generation_config.json"
            )
        remark_counts = [(self._remarks[name], words) for name, words in REMARKS.items()]
        return lines + [f"{number} pair{'s'[: number > 1]} {words}" for number, words in remark_counts if number]

    def _completion(self, side: _Side, start: int) -> Completion:
        ids = _read_only(side.ids[: self._max_length], np.uint32)
        own_mask = None if side.own_mask is None else _read_only(side.own_mask[: len(ids) - start], np.bool_)
        return Completion(ids, start, len(side.ids) - len(ids), side.apart, own_mask)

    def _certain_sides(self, pair: Pair) -> tuple[list[int], list[_Side], frozenset[str]]:
        """As `_sides`. Raises `UnclearRow` where a key that is null or not there makes other tokens in either case."""
        keys = unsure_keys(pair)
        if not keys:
            return self._sides(pair)
        sides_without_nulls = self._sides(decided(pair, lambda *_: NOTHING))
        if not self._is_same(decided(pair, lambda *_: None), sides_without_nulls):
            raise UnclearRow(
                f"{keys[0]} is null or not there, which a table cannot tell and the chat template shows; set data.nulls: drop "
                "where such keys are the table's padding, keep where they are null, or write arguments and schemas as JSON "
                "text (json.dumps) before they become a table"
            )
        return sides_without_nulls

    def _is_same(self, pair: Pair, encoding: tuple[list[int], list[_Side], frozenset[str]]) -> bool:
        """Says whether `pair` has the prompt and sides of `encoding`."""
        try:
            return self._sides(pair)[:2] == encoding[:2]
        except UnusableRow:
            return False

    def _sides(self, pair: Pair) -> tuple[list[int], list[_Side], frozenset[str]]:
        """The prompt's tokens, both sides before truncation, and what there is to be said of them."""
        texts = self._prompter.texts(pair)
        prompt = self._ids(texts.prompt, first=True)
        if not prompt:
            raise UnusableRow("empty prompt")
        sides = [self._side(texts.prompt, prompt, answer) for answer in (texts.chosen, texts.rejected)]
        return prompt, sides, texts.remarks

    def _check_room(self, prompt: list[int]) -> None:
        if len(prompt) >= self._max_length:
            raise UnusableRow("nothing left after truncation")

    def _side(self, prompt_text: str, prompt: list[int], answer: AnswerText) -> _Side:
        ids, before = self._ids(prompt_text + answer.text, first=True), prompt_text
        apart = ids[: len(prompt)] != prompt
        if apart:
            ids, before = prompt + self._ids(answer.text), ""
        if len(ids) == len(prompt):
            raise UnusableRow("empty completion")
        own_mask = None
        if answer.own is not None:
            own_mask = [*self._mark_own_tokens(before, answer.text, answer.own, ids[len(prompt) :]), True]
        return _Side([*ids, answer.eos], apart or answer.composed, apart and not answer.composed, own_mask)

    def _mark_own_tokens(self, before: str, text: str, own: Sequence[Span], ids: Sequence[int]) -> list[bool]:
        """Says which of `ids`, the tokens of `text` behind `before`, have a character in one of the spans of `text`."""
        tokenizer: Any = getattr(self._tokenizer, "_tokenizer", self._tokenizer)
        try:
            encoded = tokenizer(before + text, add_special_tokens=False, return_offsets_mapping=True)
        except (NotImplementedError, TypeError, ValueError):  # not every tokenizer can
            encoded = {"input_ids": [], "offset_mapping": []}
        if list(encoded["input_ids"][-len(ids) :]) != list(ids):
            raise UnusableRow("an answer of several turns, and a tokenizer that does not say where its tokens are")
        token_places = [
            (begin - len(before), end - len(before)) for begin, end in encoded["offset_mapping"][-len(ids) :]
        ]
        return [any(begin < span.end and end > span.begin for span in own) for begin, end in token_places]

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
    merged: bool
    """Whether that was for tokens that merge, and not for what the template does."""
    own_mask: list[bool] | None = None
    """Of the answer's tokens, where not all count."""


def _opening(tokenizer: ChatTokenizer) -> list[int]:
    """The special tokens that `tokenizer` puts before a text."""
    bare_ids = tokenizer.encode("a", add_special_tokens=False)
    full_ids = tokenizer.encode("a", add_special_tokens=True)
    for start in range(len(full_ids) - len(bare_ids) + 1):
        if full_ids[start : start + len(bare_ids)] == bare_ids:
            return full_ids[:start]
    return []


def _own_ids(side: Completion) -> NDArray[np.uint32]:
    return side.ids[side.start :][side.own]


def _uniform(text: Text) -> Text:
    return text if isinstance(text, str) else [uniform_message(message) for message in text]


def _read_only(values: Sequence[Any], dtype: Any) -> NDArray[Any]:
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


def _format_date(moment: datetime) -> str:
    return moment.date().isoformat() if moment.time() == moment.min.time() else moment.isoformat(" ")
