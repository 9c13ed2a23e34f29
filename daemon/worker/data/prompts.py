r"""Writes pairs as texts: the prompt that the model reads, and each answer, under the tokenizer's chat template.

The rules:

1. A tokenizer with a chat template gets chats. A string prompt is one user message and a string answer one assistant
   message, without the whitespace around them; messages are taken as they are. The prompt's text is the template's
   with its generation prompt, the answer's is what the template adds when the answer is there: a thinking block it
   opens belongs to whichever side the template puts it on. Template arguments are the row's (`chat_template_kwargs`) over
   the dataset's; where there are none, the template's own default holds.
2. Where the text with the answer does not begin with the prompt's (a template that drops or adds a thinking block),
   the answer is the assistant's content and what the template puts after it. An answer that opens the thinking block
   which the prompt has already opened does not open it twice.
3. A tokenizer without a template, or one that is told to use none, gets plain text: strings as they are, messages as an
   HH-RLHF transcript.
4. What a template puts after its EOS ("\n") is dropped; an EOS that the data brings at an answer's end is the
   template's own; one inside an answer makes the row unusable. So it is with a BOS at the prompt's start, and elsewhere.
5. What a row says and the template does not show makes it unusable, and so does text that holds what the template itself
   writes around turns: it has been through a template already.
6. Of an answer of several turns, the assistant's own are told apart (`spans.py`), but for those that both sides begin with.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from prefd.daemon.specs.chat_template import DEFAULT_DATE, describe_reserved, parse_date
from prefd.daemon.specs.data_spec import DataSpec
from prefd.daemon.worker.data.shared_turns import count_shared_turns, without_shared_weight
from prefd.daemon.worker.data.spans import Span, check_turns, find_own_spans, is_learned, plain_answer, plain_prompt
from prefd.daemon.worker.data.template import PROBE, TELLING, Chat, ChatTokenizer, Template
from prefd.plugins.formats.fields import content_text, is_empty
from prefd.plugins.formats.message_keys import UNTOLD
from prefd.plugins.types import Message, Pair, Text, UnusableRow

FOREIGN = re.compile(
    r"<\|(im_start|start_header_id|begin_of_text|user|prompter|assistant|system|start|turn)\|?>|<｜(User|Assistant)｜>"
    r"|<start_of_turn>|<\|START_OF_TURN_TOKEN\|>|\[INST\]|\[SYSTEM_PROMPT\]|<<SYS>>|\n\nHuman:"
    r"|\A\s*Human:[\s\S]*\n\nAssistant:\s*\Z|\bUSER:[\s\S]*ASSISTANT:\s*\Z|###\s*(Response|Assistant|Answer|Output)\s*:\s*\Z"
    r"|GPT4 Correct User:"
)
"""How the templates of known models begin a turn."""
FOREIGN_START = re.compile(r"\A\s*(###\s*\w+|Assistant|ASSISTANT|GPT4 Correct Assistant)\s*:")
"""How other trainers' texts begin an answer."""
FOREIGN_END = re.compile(r"(</s>|<\|eot_id\|>|<\|im_end\|>|<\|end\|>|<end_of_turn>|<\|endoftext\|>)\s*\Z")
"""How the templates of known models end an answer."""
PLACEHOLDER = re.compile(
    r"<(\|)?(image|audio|video|img|image_pad|vision_start|image_placeholder)(_\d+)?(\|)?>", re.IGNORECASE
)
"""What stands in the place of an image, a sound or a film."""
__all__ = ["AnswerText", "ChatTokenizer", "Prompter", "Settings", "Texts"]


@dataclass(frozen=True)
class Settings:
    """Settings holds the settings of a spec that decide how a row is written as text."""

    moment: datetime = field(default_factory=lambda: parse_date(DEFAULT_DATE))
    """What a template takes for now."""
    template: str = "auto"
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_spec(cls, spec: DataSpec) -> Settings:
        """Takes the settings out of `spec`."""
        return cls(spec.moment, spec.chat_template, spec.chat_template_kwargs)


class AnswerText(NamedTuple):
    """AnswerText holds a side's text, and the EOS that ends it."""

    text: str
    eos: int
    composed: bool = False
    """Whether the template changes the prompt when the answer follows, so that the two were put together here."""
    own: Sequence[Span] | None = None
    """Where the assistant's own text is; None: all of it."""


class Texts(NamedTuple):
    """Texts holds a pair's prompt and answers as the model reads them."""

    prompt: str
    chosen: AnswerText
    rejected: AnswerText
    remarks: frozenset[str] = frozenset()
    """What the pair's owner should know of it, by the names that `tokens.REMARKS` has in words."""


class Prompter:
    """Turns pairs into texts for one tokenizer. Raises ValueError for a tokenizer that has no EOS."""

    def __init__(self, tokenizer: ChatTokenizer, settings: Settings | None = None) -> None:
        ends = sorted(tokenizer.eos_token_ids) if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        if not ends:
            raise ValueError("the tokenizer has no EOS token; name one as eos_token in its tokenizer_config.json")
        self.settings = settings or Settings()
        self.is_chat = tokenizer.has_chat_template and self.settings.template != "none"
        self.template = Template(tokenizer, self.settings.moment)
        self.unread_arguments: dict[str, None] = {}
        """Template arguments that the template does not mention, in order of appearance."""
        self.unread_keys: dict[str, None] = {}
        """Keys of messages that it does not mention, in order of appearance."""
        self._eos = ends[0]
        texts = {tokenizer.decode([i], skip_special_tokens=False): i for i in {self._eos, *tokenizer.eos_token_ids}}
        # The longest first: one may be the end of another.
        self._eos_texts = {text: texts[text] for text in sorted(texts, key=len, reverse=True) if text.strip()}
        self._think_start = tokenizer.think_start or "<think>"
        self._think_end = tokenizer.think_end or "</think>"

    def texts(self, pair: Pair) -> Texts:
        """Writes `pair` as texts. Raises `UnusableRow`."""
        prompt = self._without_bos(pair.prompt) if self.is_chat else pair.prompt
        if self.is_chat:
            for side in (pair.chosen, pair.rejected):
                self._check_untemplated(side, [*self._eos_texts])
        ends = [self._find_end(prompt, side) for side in (pair.chosen, pair.rejected)]
        pair = replace(
            pair, prompt=prompt, chosen=self._without_eos(pair.chosen), rejected=self._without_eos(pair.rejected)
        )
        unshared = without_shared_weight(pair)
        start, answers = self._render_pair(unshared) if self.is_chat else self._write_plain(unshared, ends)
        return Texts(start, answers[0], answers[1], self._remarks(pair, start, answers))

    def _render_pair(self, pair: Pair) -> tuple[str, list[AnswerText]]:
        """Renders the prompt and both answers through the chat template."""
        if not isinstance(pair.prompt, str) and not pair.prompt:
            raise UnusableRow("empty prompt")  # templates look at the first message
        chat = self._chat(pair)
        self._collect_unread_keys(pair)
        for text in (pair.prompt, pair.chosen, pair.rejected):
            self._check_untemplated(text)
            self._check_no_bos(text)
        self._check_unwrapped(pair.prompt)
        self._check_no_eos(pair.prompt)
        start = self.template.render(chat, add_generation_prompt=True)
        self.template.check_shown(chat, start)
        sides = [_as_messages(side, "assistant") for side in (pair.chosen, pair.rejected)]
        answers = [self._answer(chat, start, side) for side in sides]
        self.template.check_tools_shown(chat, start)
        return start, answers

    def _write_plain(self, pair: Pair, ends: Sequence[int]) -> tuple[str, list[AnswerText]]:
        """Writes the prompt and both answers as plain text. `ends`: the EOS of each answer."""
        if pair.tools:
            raise UnusableRow("tools, but the tokenizer has no chat template")
        if not isinstance(pair.prompt, str) and self._marker_in(*map(content_text, pair.prompt)):
            raise UnusableRow(
                "templated already, and messages, as a system column or a history makes of a prompt: write those turns into the "
                "prompt's text, or leave the columns out (data.ignore_columns)"
            )
        self.unread_arguments |= dict.fromkeys({**self.settings.kwargs, **pair.chat_template_kwargs})
        sides = [plain_answer(pair.prompt, side) for side in (pair.chosen, pair.rejected)]
        return plain_prompt(pair.prompt), [AnswerText(text, eos, own=own) for (text, own), eos in zip(sides, ends)]

    def _find_end(self, prompt: Text, side: Text) -> int:
        """The EOS that an answer as plain text ends with: that which the data brings, or the chat template would write.

        A row that has been through the template ends as the template ends an answer.
        """
        if not isinstance(side, str):
            return self._eos
        _, brought = self._cut_eos(side)
        if brought is not None:
            return brought
        is_templated = isinstance(prompt, str) and self._marker_in(prompt) is not None
        _, ending = self._cut_eos(self.template.ending) if is_templated else ("", None)
        return self._eos if ending is None else ending

    def _remarks(self, pair: Pair, start: str, answers: Sequence[AnswerText]) -> frozenset[str]:
        """Names what the pair's owner should know of it."""
        sides = pair.chosen, pair.rejected
        opens_thinking = start.rstrip().endswith(self._think_start)
        repeating = [_repeats(pair.prompt, side) for side in sides]
        remarks = {
            "repeats": all(repeating),
            "repeats_once": any(repeating) and not all(repeating),
            "shared": count_shared_turns(pair) > 0,
            "turns": any(not isinstance(side, str) and len(side) > 1 for side in sides),
            "weightless": any(_is_weightless(side) for side in sides),
            "prefill": not isinstance(pair.prompt, str)
            and bool(pair.prompt)
            and pair.prompt[-1]["role"] == "assistant",
            "transcript": not self.is_chat and not all(isinstance(text, str) for text in (pair.prompt, *sides)),
            "foreign": self.is_chat and any(FOREIGN.search(content) for content in _contents(pair.prompt)),
            "foreign_sides": self.is_chat
            and any(_is_foreign(content) for side in sides for content in _contents(side)),
            "media": any(PLACEHOLDER.search(content) for content in _contents(pair.prompt)),
            "rewritten": any(answer.composed for answer in answers),
            "thinking": opens_thinking and any(self._think_end not in answer.text for answer in answers),
            "second_thinking": start.rstrip().endswith(self._think_end)
            and any(answer.text.lstrip().startswith(self._think_start) for answer in answers),
        }
        return frozenset(name for name, holds in remarks.items() if holds)

    def _chat(self, pair: Pair) -> Chat:
        if fault := describe_reserved(pair.chat_template_kwargs):
            raise UnusableRow(f"chat_template_kwargs {fault}")
        kwargs = {**self.settings.kwargs, **pair.chat_template_kwargs}
        self.unread_arguments |= dict.fromkeys(self.template.find_unread_arguments(list(kwargs)))
        return Chat(_as_messages(pair.prompt, "user"), pair.tools, kwargs)

    def _collect_unread_keys(self, pair: Pair) -> None:
        texts = (text for text in (pair.prompt, pair.chosen, pair.rejected) if not isinstance(text, str))
        keys = dict.fromkeys(
            key for text in texts for message in text for key in message if message[key] and key not in UNTOLD
        )
        self.unread_keys |= dict.fromkeys(
            self.template.find_unread_arguments([key for key in keys if key not in self.unread_keys])
        )

    @property
    def stray_ending(self) -> str | None:
        """Returns the token by which the template ends an answer, where it is no EOS of the model's."""
        ending = self.template.ending if self.is_chat else ""
        if any(eos in ending for eos in self._eos_texts):
            return None
        return next((token for token in self.template.markers if ending.strip().startswith(token)), None)

    @property
    def overlooked(self) -> str:
        """Returns a hint for messages on a template that lies where no tokenizer looks for it; "" where there is none."""
        if self.settings.template == "none" or not (self.template.folder / "chat_template.json").is_file():
            return ""
        return "; its folder has a chat_template.json, which is for processors: put the text in it into chat_template.jinja"

    def _answer(self, chat: Chat, start: str, answer: Sequence[Message]) -> AnswerText:
        full = self.template.render(chat, answer)
        self.template.check_shown(chat, full, answer)
        if full.startswith(start):
            answer_text = self._split_eos(full[len(start) :])
            return (
                answer_text
                if len(answer) == 1
                else answer_text._replace(own=self._find_own_spans(chat, start, answer, full, answer_text.text))
            )
        content = content_text(answer[0])
        if len(answer) > 1 or answer[0].get("tool_calls"):
            raise UnusableRow("the chat template changes the prompt when an answer follows")
        before, probe, after = self.template.render(chat, [{"role": "assistant", "content": PROBE}]).rpartition(PROBE)
        if not probe:
            raise UnusableRow("the chat template leaves the answer out")
        text = _gap(start, before) + self._after_thinking(start, content) + after
        return self._split_eos(text)._replace(composed=True)

    def _find_own_spans(self, chat: Chat, start: str, answer: Sequence[Message], full: str, text: str) -> list[Span]:
        """Finds where in `text`, the answer's, the assistant's turns are, each with the EOS that ends it."""

        def render(messages: Sequence[Message], generation: bool = False) -> str:
            return self.template.render(chat, messages, generation)

        spans = find_own_spans(render, answer, full, list(self._eos_texts))
        return [Span(begin - len(start), min(end - len(start), len(text))) for begin, end in spans]

    def _after_thinking(self, start: str, content: str) -> str:
        """`content` without the opening of a thinking block that `start` ends with."""
        think_start = self._think_start
        if not start.rstrip().endswith(think_start) or not content.lstrip().startswith(think_start):
            return content
        return content.lstrip().removeprefix(think_start).lstrip()

    def _split_eos(self, text: str) -> AnswerText:
        """`text` up to the EOS that ends it, and which that is: of several, the first, where generation would stop."""
        text, eos = self._cut_eos(text)
        return AnswerText(text, self._eos if eos is None else eos)

    def _cut_eos(self, text: str) -> tuple[str, int | None]:
        """As `_split_eos`, with None for no EOS."""
        eos = None
        while eos_text := next(
            (token_text for token_text in self._eos_texts if text.rstrip().endswith(token_text)), None
        ):
            text, eos = text.rstrip().removesuffix(eos_text), self._eos_texts[eos_text]
        return text, eos

    def _without_bos(self, prompt: Text) -> Text:
        """`prompt` without a BOS that the data has put at its start: the template or the tokenizer writes its own."""
        bos = self.template.bos
        if not bos or not prompt or not _contents(prompt)[0].lstrip().startswith(bos):
            return prompt
        if isinstance(prompt, str):
            return prompt.lstrip().removeprefix(bos)
        return [{**prompt[0], "content": content_text(prompt[0]).lstrip().removeprefix(bos)}, *prompt[1:]]

    def _check_no_bos(self, text: Text) -> None:
        bos = self.template.bos
        if bos and any(bos in content for content in _contents(text)):
            raise UnusableRow(f"it holds {bos!r}, the token that only begins a text: take it out")

    def _without_eos(self, side: Text) -> Text:
        """`side` without an EOS that the data has put at its end. Raises `UnusableRow` where nothing is left."""
        if isinstance(side, str):
            cleaned: Text = self._clean_text(side)
        else:
            cleaned = [self._clean_message(message) for message in side]
            if side and side[-1]["role"] != "assistant":
                raise UnusableRow("a side does not end with an answer")
        if is_empty(cleaned):
            raise UnusableRow("empty completion")
        if not isinstance(cleaned, str):
            check_turns(cleaned)
        return cleaned

    def _clean_message(self, message: Message) -> Message:
        content = message.get("content")
        if isinstance(content, str):
            return {**message, "content": self._clean_text(content)}
        if isinstance(content, list | tuple) and content:
            last = {**content[-1], "text": self._clean_text(str(content[-1].get("text") or ""))}
            return {**message, "content": [*content[:-1], last]}
        return message

    def _clean_text(self, text: str) -> str:
        text = self._split_eos(text).text
        if any(eos in text for eos in self._eos_texts):
            raise UnusableRow("an EOS inside the answer")
        return text

    def _check_untemplated(self, text: Text, but: Collection[str] = ()) -> None:
        marker = self._marker_in(*_contents(text), but=but)
        if marker is not None:
            raise UnusableRow(_templated(f"holds {marker!r}"))

    def _marker_in(self, *texts: str, but: Collection[str] = ()) -> str | None:
        """The first of the template's own markers, `but` some, that stands in any of `texts`."""
        markers = (marker for marker in self.template.markers if marker not in but)
        return next((marker for marker in markers if any(marker in text for text in texts)), None)

    def _check_no_eos(self, prompt: Text) -> None:
        eos = next((text for text in self._eos_texts if any(text in content for content in _contents(prompt))), None)
        if eos is not None:
            raise UnusableRow(f"the prompt holds {eos!r}, the token that ends an answer: take it out")

    def _check_unwrapped(self, prompt: Text) -> None:
        """Raises `UnusableRow` where the words are there already that the template puts around a user's turn."""
        head, tail = self.template.around
        for content in map(str.strip, _contents(prompt)):
            begins, ends = bool(head) and content.startswith(head), bool(tail) and content.endswith(tail)
            if begins and (ends or len(head) >= TELLING):
                raise UnusableRow(_templated(f"begins with {head!r}"))
            if ends and len(tail) >= TELLING:
                raise UnusableRow(_templated(f"ends with {tail!r}"))


def _gap(start: str, before: str) -> str:
    """The space that the template writes between the end of a prompt, as `start` and `before` both have it, and an answer."""
    end = before.rstrip()
    alike = start == start.rstrip() and end.endswith(start[-TELLING:])
    return before[len(end) :] if alike else ""


def _templated(how: str) -> str:
    return (
        f"templated already: it {how}, which the chat template writes itself; for rows that have been through a template, "
        "set data.chat_template: none"
    )


def _as_messages(text: Text, role: str) -> Sequence[Message]:
    return [{"role": role, "content": text.strip()}] if isinstance(text, str) else text


def _contents(text: Text) -> list[str]:
    return [text] if isinstance(text, str) else [content_text(message) for message in text]


def _is_weightless(side: Text) -> bool:
    """Says whether an answer has a turn of the assistant's that is not to be learned."""
    return not isinstance(side, str) and not all(
        is_learned(message) for message in side if message["role"] == "assistant"
    )


def _is_foreign(text: str) -> bool:
    return bool(FOREIGN.search(text) or FOREIGN_START.match(text) or FOREIGN_END.search(text))


def _repeats(prompt: Text, side: Text) -> bool:
    """Says whether an answer begins with its prompt's last words."""
    prompt_words = _words(prompt, -1)
    return len(prompt_words) > 1 and _words(side, 0)[: len(prompt_words)] == prompt_words


def _words(text: Text, index: int) -> list[str]:
    return (text if isinstance(text, str) else content_text(text[index]) if text else "").split()
