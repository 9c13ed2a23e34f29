"""Finds the characters of an answer of several turns that are the assistant's own, and not a user's or a tool's.

All of the answer is scored, under one key; what is not the assistant's own is left out where the numbers are read. Where
the turns cannot be told apart for certain, the row is unusable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple, Protocol

from prefd.plugins.formats.fields import content_text
from prefd.plugins.types import Message, Text, UnusableRow

PROBE = "prefdturn"
TRANSCRIPT = {"user": "Human", "assistant": "Assistant"}
TELLING = 20
"""Characters at the end of a message by which it is known."""
SAYING = ("tool_calls", "reasoning_content", "thinking", "reasoning")
UNCERTAIN = "the chat template changes earlier turns of the answer, so the assistant's own tokens cannot be told apart"


class Span(NamedTuple):
    """Span is the characters from `begin` up to `end`."""

    begin: int
    end: int


class Render(Protocol):
    """Renders a chat of the prompt and some of the answer's messages."""

    def __call__(self, messages: Sequence[Message], generation: bool = False) -> str:
        """The text of the prompt and of the answer's first `messages`."""


IsOwn = Callable[[Span], bool]
"""Whether no other's text lies in a span."""


def find_own_spans(render: Render, answer: Sequence[Message], full: str, eos: Sequence[str]) -> list[Span]:
    """Finds the assistant's turns within `full`, the text of the prompt and of the whole `answer`.

    Each is from where generation would begin to where it would stop, behind one of `eos`. Raises `UnusableRow` where that
    is not certain.
    """
    turn_indices = [index for index, message in enumerate(answer) if message["role"] == "assistant"]

    @cache
    def locate_others() -> list[Span | str | None]:
        return [
            _locate_other(render, answer, index, full) for index, message in enumerate(answer) if _is_others(message)
        ]

    def is_own(span: Span) -> bool:
        return span.end > span.begin and not any(_lies_in(other, full, span) for other in locate_others())

    spans = [
        _by_growth(render, answer, index, full, eos, is_own) or _by_content(render, answer, index, full, eos, is_own)
        for index in turn_indices
    ]
    earlier_ends = [len(render((), generation=True)), *(span.end for span in spans)]
    if any(span.begin < end for span, end in zip(spans, earlier_ends)):
        raise UnusableRow(UNCERTAIN)
    return [span for span, index in zip(spans, turn_indices) if is_learned(answer[index])]


def is_learned(message: Message) -> bool:
    """Says whether an assistant's turn is to be learned: OpenAI's `weight` 0 says no. Raises `UnusableRow`."""
    weight = message.get("weight", 1)
    if weight not in (0, 1):
        raise UnusableRow(f"a message's weight is {weight!r}, and neither 0 nor 1")
    return bool(weight)


def check_turns(answer: Sequence[Message]) -> None:
    """Raises `UnusableRow` where an assistant's turn says nothing, or where the last is not to be learned."""
    for message in answer:
        if message["role"] == "assistant" and not (content_text(message).strip() or any(map(message.get, SAYING))):
            raise UnusableRow("an assistant turn that says nothing")
    if answer and not is_learned(answer[-1]):
        raise UnusableRow("the answer's last message has weight 0: it is not to be learned")


def _is_others(message: Message) -> bool:
    return message["role"] != "assistant" and bool(content_text(message).strip())


def _locate_other(render: Render, answer: Sequence[Message], index: int, full: str) -> Span | str | None:
    """Locates in `full` the text of a turn that is not the assistant's.

    Where its place is not certain, the text itself is given; None where not even that stands there.
    """
    text = content_text(answer[index]).strip()
    try:
        probed_text = render([*answer[:index], {**answer[index], "content": PROBE}, *answer[index + 1 :]])
    except UnusableRow:
        probed_text = ""
    before, _, after = probed_text.partition(PROBE)
    if probed_text.count(PROBE) == 1 and full.startswith(before) and full.endswith(after):
        return Span(len(before), len(full) - len(after))
    return text if text in full else None


def _lies_in(place: Span | str | None, full: str, span: Span) -> bool:
    """Says whether another's text lies in `span`, or may."""
    if isinstance(place, Span):
        return place.begin < span.end and place.end > span.begin
    return place is None or place in full[span.begin : span.end]


def _by_growth(
    render: Render, answer: Sequence[Message], index: int, full: str, eos: Sequence[str], is_own: IsOwn
) -> Span | None:
    """Finds the turn as the text that the chat grows by.

    Where later turns change it (a thinking block that only the last has), it is what stands in its place up to the first
    EOS. None where even that is not where the turn before ends, and where that EOS is a later turn's.
    """
    before, after = render(answer[:index], generation=True), render(answer[: index + 1])
    if not full.startswith(before):
        return None
    end = len(before) + _behind_last_eos(after[len(before) :], eos)
    if after.startswith(before) and full[:end] == after[:end]:
        return Span(len(before), end)
    ends = [position + len(eos_text) for eos_text in eos if (position := full.find(eos_text, len(before))) >= 0]
    span = Span(len(before), min(ends, default=0))
    return span if is_own(span) and _says(full[span.begin : span.end], answer[index]) else None


def _says(turn: str, message: Message) -> bool:
    """Says whether all that `message` ends with, and its calls, stand in `turn`."""
    calls = [call.get("function") or call for call in message.get("tool_calls") or ()]
    names = [str(call.get("name")) for call in calls]
    return content_text(message).strip()[-TELLING:] in turn and all(name in turn for name in names)


def _by_content(
    render: Render, answer: Sequence[Message], index: int, full: str, eos: Sequence[str], is_own: IsOwn
) -> Span:
    """The turn as where other words come to stand when the message has them."""
    probed_text = render([*answer[:index], {**answer[index], "content": PROBE}, *answer[index + 1 :]])
    before, _, after = probed_text.partition(PROBE)
    begin, end = len(before), len(full) - len(after)
    content = full[begin:end].strip()
    certain = probed_text.count(PROBE) == 1 and full.startswith(before) and full.endswith(after)
    if answer[index].get("tool_calls") or not certain or not content or content not in content_text(answer[index]):
        raise UnusableRow(UNCERTAIN)
    following = next((eos_text for eos_text in eos if after.lstrip().startswith(eos_text)), "")
    head = render(answer[:index], generation=True)  # what stands between it and the content, the model writes as well
    begins = len(head) if full.startswith(head) and len(head) <= begin else begin
    span = Span(begins, end + after.index(following) + len(following))
    if not is_own(span):
        raise UnusableRow(UNCERTAIN)
    return span


def _behind_last_eos(text: str, eos: Sequence[str]) -> int:
    """Says where the turn ends that `text` ends with: behind its EOS, of several the first, where generation would stop."""
    end, text_before_eos = len(text), text.rstrip()
    while eos_text := next((candidate for candidate in eos if text_before_eos.endswith(candidate)), None):
        end, text_before_eos = len(text_before_eos), text_before_eos.removesuffix(eos_text).rstrip()
    return end


def plain_prompt(prompt: Text) -> str:
    """Writes a prompt for a model that has no chat template."""
    return prompt if isinstance(prompt, str) else f"{''.join(map(_turn, prompt))}\n\nAssistant:"


def plain_answer(prompt: Text, answer: Text) -> tuple[str, list[Span] | None]:
    """Writes an answer for a model that has no chat template, and finds the assistant's own of several turns."""
    if isinstance(answer, str):
        return answer if isinstance(prompt, str) else f" {answer.strip()}", None
    if isinstance(prompt, str) and len(answer) == 1:
        return _plain_content(answer[0]), None
    text, spans = "", []
    for index, message in enumerate(answer):
        turn = _turn(message)
        head = turn.index(":") + 1
        if index == 0 and message["role"] == "assistant":
            turn, head = turn[head:], 0
        if message["role"] == "assistant" and is_learned(message):
            spans.append(Span(len(text) + head, len(text) + len(turn)))
        text += turn
    return text, spans if len(answer) > 1 else None


def _turn(message: Message) -> str:
    return f"\n\n{TRANSCRIPT.get(message['role'], message['role'].capitalize())}: {_plain_content(message)}"


def _plain_content(message: Message) -> str:
    if message.get("tool_calls"):
        raise UnusableRow("tool calls, but the tokenizer has no chat template")
    return content_text(message)
