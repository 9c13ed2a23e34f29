r"""Pairs → texts: what the model reads before an answer, and each answer, under the tokenizer's chat template.

The rules:

1. A tokenizer with a chat template gets chats. A string prompt is one user message and a string answer one assistant
   message, without the whitespace around them; messages are taken as they are. The prompt's text is the template's
   with its generation prompt, the answer's is what the template adds when the answer is there: a thinking block it
   opens belongs to whichever side the template puts it on. Thinking keywords are the row's (`chat_template_kwargs`);
   where it has none, the template's own default holds.
2. Where the text with the answer does not begin with the prompt's (a template that drops or adds a thinking block),
   the answer is the assistant's content and what the template puts after it. An answer that opens the thinking block
   which the prompt has already opened does not open it twice.
3. A tokenizer without a template gets plain text: strings as they are, messages as an HH-RLHF transcript.
4. What a template puts after its EOS ("\n") is dropped; an EOS that the data brings at an answer's end is the
   template's own; one inside an answer makes the row unusable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from prefd.plugins.formats.fields import content_text, is_empty
from prefd.plugins.types import Message, Pair, Text, UnusableRow

SENTINEL = "prefdcontent"
RESERVED = frozenset(
    [
        "conversation",
        "messages",
        "tools",
        "chat_template",
        "add_generation_prompt",
        "continue_final_message",
        "tokenize",
        "padding",
        "truncation",
        "max_length",
        "return_tensors",
        "return_dict",
        "return_assistant_tokens_mask",
        "tokenizer_kwargs",
        "processor_kwargs",
    ]
)
"""Arguments of `apply_chat_template` that are not the template's, and not a dataset's to set."""
TRANSCRIPT = {"user": "Human", "assistant": "Assistant"}


class ChatTokenizer(Protocol):
    """What is needed of mlx-lm's `TokenizerWrapper`, which has no types of its own."""

    eos_token_id: int | None
    bos_token_id: int | None
    eos_token_ids: set[int]
    """Every token that ends an answer, the model config's included."""
    has_chat_template: bool
    think_start: str | None

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]: ...
    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = ...) -> str: ...
    def apply_chat_template(self, conversation: Sequence[Message], **kwargs: Any) -> Any: ...


class Answer(NamedTuple):
    """A side's text, without the EOS it ends with."""

    text: str
    eos: int
    composed: bool = False
    """Whether the template changes the prompt when the answer follows, so that the two were put together here."""


class Texts(NamedTuple):
    """A pair as the model reads it."""

    prompt: str
    chosen: Answer
    rejected: Answer


class Prompter:
    """Turns pairs into texts for one tokenizer. Raises ValueError for a tokenizer that has no EOS."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no EOS token; name one as eos_token in its tokenizer_config.json")
        self.is_chat = tokenizer.has_chat_template
        self._eos = tokenizer.eos_token_id
        texts = {tokenizer.decode([i], skip_special_tokens=False): i for i in {self._eos, *tokenizer.eos_token_ids}}
        # The longest first: one may be the end of another.
        self._eos_texts = {text: texts[text] for text in sorted(texts, key=len, reverse=True) if text.strip()}
        self._think_start = tokenizer.think_start or "<think>"
        # TokenizerWrapper sets a thinking keyword of its own accord; a Python template of mlx-lm's only it can call.
        inner = getattr(tokenizer, "_tokenizer", tokenizer)
        self._renderer = tokenizer if getattr(tokenizer, "_chat_template", None) is not None else inner

    def texts(self, pair: Pair) -> Texts:
        """What `pair` reads as. Raises `UnusableRow`."""
        prompt, chosen, rejected = pair.prompt, self._without_eos(pair.chosen), self._without_eos(pair.rejected)
        if not self.is_chat:
            if pair.tools:
                raise UnusableRow("tools, but the tokenizer has no chat template")
            answers = (Answer(_plain_answer(prompt, side), self._eos) for side in (chosen, rejected))
            return Texts(_plain_prompt(prompt), *answers)
        if not isinstance(prompt, str) and not prompt:
            raise UnusableRow("empty prompt")  # templates look at the first message
        if reserved := RESERVED & pair.chat_template_kwargs.keys():
            raise UnusableRow(f"chat_template_kwargs may not set {', '.join(sorted(reserved))}")
        chat = _Chat(_as_messages(prompt, "user"), pair.tools, pair.chat_template_kwargs)
        start = self._render(chat, (), add_generation_prompt=True)
        return Texts(
            start, *(self._answer(chat, start, _as_messages(side, "assistant")) for side in (chosen, rejected))
        )

    def _answer(self, chat: _Chat, start: str, answer: Sequence[Message]) -> Answer:
        full = self._render(chat, answer)
        if full.startswith(start):
            return self._split_eos(full[len(start) :])
        content = answer[0].get("content")
        if len(answer) > 1 or not isinstance(content, str):
            raise UnusableRow("the chat template changes the prompt when an answer follows")
        _, found, after = self._render(chat, [{"role": "assistant", "content": SENTINEL}]).rpartition(SENTINEL)
        if not found:
            raise UnusableRow("the chat template leaves the answer out")
        return self._split_eos(self._after_thinking(start, content) + after)._replace(composed=True)

    def _after_thinking(self, start: str, content: str) -> str:
        """`content` without the opening of a thinking block that `start` ends with."""
        opened = self._think_start
        if not start.rstrip().endswith(opened) or not content.lstrip().startswith(opened):
            return content
        return content.lstrip().removeprefix(opened).lstrip()

    def _render(self, chat: _Chat, answer: Sequence[Message], add_generation_prompt: bool = False) -> str:
        try:
            text = self._renderer.apply_chat_template(
                [*chat.prompt, *answer],
                tools=chat.tools,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **chat.kwargs,
            )
        except Exception as error:  # a template raises what it likes: its own refusals, or Python's on odd messages
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise UnusableRow(f"the chat template refuses it: {reason[:100]}") from error
        return str(text)

    def _split_eos(self, text: str) -> Answer:
        """`text` up to the EOS that ends it, and which that is: of several, the first, where generation would stop."""
        eos = self._eos
        while found := next((end for end in self._eos_texts if text.rstrip().endswith(end)), None):
            text, eos = text.rstrip().removesuffix(found), self._eos_texts[found]
        return Answer(text, eos)

    def _without_eos(self, side: Text) -> Text:
        """`side` without an EOS that the data has put at its end. Raises `UnusableRow` where nothing is left."""
        if isinstance(side, str):
            cleaned: Text = self._clean(side)
        else:
            cleaned = [
                {**message, "content": self._clean(message["content"])}
                if isinstance(message.get("content"), str)
                else message
                for message in side
            ]
            if side and side[-1]["role"] != "assistant":
                raise UnusableRow("a side does not end with an answer")
        if is_empty(cleaned):
            raise UnusableRow("empty completion")
        return cleaned

    def _clean(self, text: str) -> str:
        text = self._split_eos(text).text
        if any(eos in text for eos in self._eos_texts):
            raise UnusableRow("an EOS inside the answer")
        return text


class _Chat(NamedTuple):
    """What every rendering of one row has in common."""

    prompt: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] | None
    kwargs: Mapping[str, Any]


def _as_messages(text: Text, role: str) -> Sequence[Message]:
    return [{"role": role, "content": text.strip()}] if isinstance(text, str) else text


def _plain_prompt(prompt: Text) -> str:
    return prompt if isinstance(prompt, str) else f"{_transcript(prompt)}\n\nAssistant:"


def _plain_answer(prompt: Text, answer: Text) -> str:
    if isinstance(answer, str):
        return answer if isinstance(prompt, str) else f" {answer.strip()}"
    if isinstance(prompt, str) and len(answer) == 1:
        return _plain_content(answer[0])
    return _transcript(answer).removeprefix("\n\nAssistant:")


def _transcript(messages: Sequence[Message]) -> str:
    return "".join(
        f"\n\n{TRANSCRIPT.get(message['role'], message['role'].capitalize())}: {_plain_content(message)}"
        for message in messages
    )


def _plain_content(message: Message) -> str:
    if message.get("tool_calls"):
        raise UnusableRow("tool calls, but the tokenizer has no chat template")
    return content_text(message)
