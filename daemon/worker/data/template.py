"""Renders a tokenizer's chat template as of one moment, in the form it takes messages, and finds what it never shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from jinja2 import Environment, TemplateError
from jinja2.meta import find_undeclared_variables

from prefd.daemon.worker.data.still_clock import Clock
from prefd.plugins.formats.fields import content_text
from prefd.plugins.types import Message, UnusableRow

PROBE = "prefdcontent"
JINJAS_CLOCK = "transformers.utils.chat_template_utils"
ASKED = ("datetime", "time", "os", "random", "platform", "socket")
"""What a template that is Python code may import as it runs."""
ELSEWHEN = timedelta(days=399, hours=13, minutes=31, seconds=17)
"""No two moments so far apart are printed alike."""
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]{6,}>")
MARKUP = re.compile(r"<\|[^<>|\s]+\|>|<｜[^<>｜]+｜>|<[a-z]+_of_[a-z]+>|\[/?[A-Z_]{2,}\]|#{2,3} ?\w+:")
"""What templates write around turns, where it is no token of its own."""
UNKNOWN_ARGUMENT = re.compile(r"unexpected keyword argument '(\w+)'")
TELLING = 8
"""Fewer characters may be in a text for another reason than that they were said."""
THE_CHAT = frozenset(["messages", "tools", "add_generation_prompt", "raise_exception", "strftime_now"])
"""What every chat template is given."""
LEAST = 3
"""Letters of the shortest argument: a template's own variables, set in one branch and read in another, look like some."""
GENERATION_TAG = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
"""The tag that only `transformers` knows."""
ARGUMENTS = ("arguments", "parameters", "input", "args", "kwargs", "params")
"""What a call's arguments are called; only the first is what `mlx_lm.server` has."""
HINTS = dict.fromkeys(ARGUMENTS[1:], ": call it 'arguments'")
REASONING = ("reasoning_content", "thinking", "reasoning")


class ChatTokenizer(Protocol):
    """ChatTokenizer holds the methods and fields of mlx-lm's `TokenizerWrapper` that are used here; it has no types of its own."""

    eos_token_id: int | None
    bos_token_id: int | None
    eos_token_ids: set[int]
    """Every token that ends an answer, the model config's included."""
    has_chat_template: bool
    think_start: str | None
    think_end: str | None

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]:
        """Tokenizes `text`."""

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = ...) -> str:
        """Writes tokens as text."""

    def apply_chat_template(self, conversation: Sequence[Message], **kwargs: Any) -> Any:
        """Renders a chat, and tokenizes it unless `tokenize=False`."""


class Chat(NamedTuple):
    """Chat holds the part of a chat that every rendering of one row has in common."""

    prompt: Sequence[Message]
    tools: Sequence[Mapping[str, Any]] | None = None
    kwargs: Mapping[str, Any] = {}


class Template:
    """Renders the chats of one job, all of them as of `moment`."""

    def __init__(self, tokenizer: ChatTokenizer, moment: datetime) -> None:
        self.moment = moment
        self.prints_date = False
        """Whether any text so far would have been another at another time."""
        self.reads_clock = False
        """Whether any might have been: a template may ask whether it is morning, and print no date."""
        self._tokenizer = tokenizer
        # TokenizerWrapper sets a thinking keyword of its own accord; a Python template of mlx-lm's only it can call.
        self._inner: Any = getattr(tokenizer, "_tokenizer", tokenizer)
        self._renderer = tokenizer if getattr(tokenizer, "_chat_template", None) is not None else self._inner
        code = tuple(_modules_of(tokenizer, self._inner))
        self._is_code = bool(code)
        self._modules = (JINJAS_CLOCK, *code)
        self._clock = Clock(moment)
        self._elsewhen = Clock(moment - ELSEWHEN if moment.year > 9000 else moment + ELSEWHEN)

    @property
    def folder(self) -> Path:
        """Says where the tokenizer was loaded from."""
        return Path(str(getattr(self._inner, "name_or_path", "")))

    @property
    def draws(self) -> bool:
        """Says whether any text so far was drawn at random."""
        return self._clock.was_drawn_from

    @property
    def reads_surroundings(self) -> bool:
        """Says whether any text so far was made by asking for the environment, the process or the machine."""
        return self._clock.were_surroundings_read

    def render(self, chat: Chat, answer: Sequence[Message] = (), add_generation_prompt: bool = False) -> str:
        """Renders a chat. Raises `UnusableRow` where the template refuses it."""
        messages = [self._form(message) for message in (*chat.prompt, *answer)]
        self._clock.was_read = False
        text = self._apply(messages, chat, add_generation_prompt, self._clock)
        self.reads_clock |= self._clock.was_read
        if self._clock.was_read and not self.prints_date:
            self.prints_date = text != self._apply(messages, chat, add_generation_prompt, self._elsewhen)
        if ADDRESS.search(text):
            raise UnusableRow("the chat template prints an object of Python's, which is another in each process")
        if self._is_code and text != self._apply(messages, chat, add_generation_prompt, self._clock):
            raise UnusableRow("the chat template writes another text each time it is rendered")
        return text

    def _apply(self, messages: list[Message], chat: Chat, add_generation_prompt: bool, clock: Clock) -> str:
        try:
            with clock.in_place(self._modules):
                return str(
                    self._renderer.apply_chat_template(
                        messages,
                        tools=chat.tools,
                        tokenize=False,
                        add_generation_prompt=add_generation_prompt,
                        **chat.kwargs,
                    )
                )
        except Exception as error:  # a template raises what it likes: its own refusals, or Python's on odd messages
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            if isinstance(error, TypeError) and (match := UNKNOWN_ARGUMENT.search(reason)) and match[1] in chat.kwargs:
                raise UnusableRow(
                    f"chat_template_kwargs has {match[1]!r}, which the chat template, Python code, does not take: leave it out"
                ) from error
            raise UnusableRow(f"the chat template refuses it: {reason[:100]}{_remedy(reason, messages)}") from error

    def _form(self, message: Message) -> Message:
        """`message` with contents and arguments in the form that the template reads."""
        message = self._content_form(message)
        if message.get("tool_calls") and self._wants_argument_text:
            return {**message, "tool_calls": [_with_argument_text(call) for call in message["tool_calls"]]}
        return message

    def _content_form(self, message: Message) -> Message:
        content = message.get("content")
        if isinstance(content, list | tuple) and not self._wants_parts:
            return {**message, "content": content_text(message)}
        if isinstance(content, str) and self._wants_parts:
            return {**message, "content": [{"type": "text", "text": content}]}
        return message

    @cached_property
    def _wants_parts(self) -> bool:
        """Says whether the template shows contents only as lists of parts."""
        if PROBE in self._try([_user(PROBE)]):
            return False
        parts = self._try([{"role": "user", "content": [{"type": "text", "text": PROBE}]}])
        return PROBE in parts and repr(PROBE) not in parts

    @cached_property
    def _wants_argument_text(self) -> bool:
        """Says whether the template shows a call's arguments rightly only as JSON text."""
        as_object = self._try(self._content_forms(_user("q"), _call({PROBE: PROBE})))
        if PROBE in as_object and f"{{'{PROBE}'" not in as_object:
            return False
        return PROBE in self._try(self._content_forms(_user("q"), _call(json.dumps({PROBE: PROBE}))))

    def _content_forms(self, *messages: Message) -> list[Message]:
        return [self._content_form(message) for message in messages]

    def _try(self, messages: list[Message], generation: bool = False) -> str:
        """The text of made-up messages; nothing where the template refuses them."""
        try:
            return self._apply(messages, Chat(messages), generation, self._clock)
        except UnusableRow:
            return ""

    @cached_property
    def ending(self) -> str:
        """Says what the template writes behind an answer."""
        before, _, after = self._try(self._content_forms(_user("q"), _assistant(PROBE))).rpartition(PROBE)
        return after if before else ""

    @cached_property
    def markers(self) -> tuple[str, ...]:
        """Says what the template itself writes around turns: a text with any of it has been through a template already."""
        question, answer = self._content_forms(_user(PROBE), _assistant(PROBE))
        texts = self._try([question], generation=True) + self._try([question, answer])
        added: dict[str, int] = getattr(self._inner, "get_added_vocab", dict)()
        tokens = {*added, *getattr(self._inner, "all_special_tokens", ())}
        found_markers = {token for token in tokens if re.search(r"[^\w\s]", token) and token in texts} | set(
            MARKUP.findall(texts)
        )
        bos = getattr(self._inner, "bos_token", None)
        if bos and texts.count(bos) <= 2:  # one for each text: it opens no turn
            found_markers.discard(bos)
        thinking = f"{self._tokenizer.think_start} {self._tokenizer.think_end} <think> </think>"
        return tuple(sorted((token for token in found_markers if token not in thinking), key=len, reverse=True))

    @cached_property
    def around(self) -> tuple[str, str]:
        """Says what the template writes before a user's only turn, and behind it where an answer is to follow."""
        head, probe, tail = self._try(self._content_forms(_user(PROBE)), generation=True).partition(PROBE)
        return (head.strip().removeprefix(self.bos).strip(), tail.strip()) if probe else ("", "")

    @cached_property
    def bos(self) -> str:
        """Returns the token that begins a text; nothing where there is none, or where it opens every turn as well."""
        bos = str(getattr(self._inner, "bos_token", None) or "")
        return bos if bos.strip() and bos not in self.markers else ""

    def find_unread_arguments(self, names: Sequence[str]) -> list[str]:
        """Lists those of the arguments `names` that no template of the tokenizer's mentions."""
        source = getattr(self._inner, "chat_template", None)
        if not source or self._renderer is not self._inner:
            return []
        text = source if isinstance(source, str) else " ".join(map(str, source.values()))
        return [name for name in names if not re.search(rf"\b{re.escape(name)}\b", text)]

    @cached_property
    def own_arguments(self) -> frozenset[str]:
        """Returns the arguments that the template reads beside the chat itself, as `enable_thinking`; none of Python code."""
        source = getattr(self._inner, "chat_template", None)
        if not source or self._renderer is not self._inner:
            return frozenset()
        environment = Environment(extensions=["jinja2.ext.loopcontrols"])
        try:
            names = {
                name
                for text in ([source] if isinstance(source, str) else source.values())
                for name in find_undeclared_variables(environment.parse(GENERATION_TAG.sub("", text)))
            }
        except TemplateError:
            return frozenset()
        names -= THE_CHAT | environment.globals.keys()
        return frozenset(name for name in names if not name.endswith("_token") and len(name) >= LEAST)

    def check_shown(self, chat: Chat, text: str, answer: Sequence[Message] = ()) -> None:
        """Raises `UnusableRow` where `text`, which is `chat` and `answer` rendered, lacks some of what they say."""
        generation = not answer
        messages = [*chat.prompt, *answer]
        for index in range(0 if generation else len(chat.prompt), len(messages)):
            for part, part_text, changed_message in _parts_of(
                messages[index], last=not generation and index == len(messages) - 1
            ):
                if part_text in text and len(part_text) >= TELLING:
                    continue
                changed_messages = [*messages[:index], changed_message, *messages[index + 1 :]]
                if self._renders_alike(chat._replace(prompt=changed_messages), text, generation):
                    raise UnusableRow(f"the chat template does not show {part}")
            self._check_role(chat, text, messages, index, generation)

    def _check_role(self, chat: Chat, text: str, messages: list[Message], index: int, generation: bool) -> None:
        """Raises `UnusableRow` where a turn of neither user nor assistant would be written as the assistant's own."""
        role = messages[index]["role"]
        if role in ("user", "assistant") or not content_text(messages[index]).strip():
            return

        def same_as(other: str) -> bool:
            changed_messages = [*messages[:index], {**messages[index], "role": other}, *messages[index + 1 :]]
            return self._renders_alike(chat._replace(prompt=changed_messages), text, generation)

        if same_as("assistant") and not same_as("user"):  # as both: the template writes no roles at all
            article = "an" if role[0] in "ei" else "a"
            raise UnusableRow(f"the chat template writes {article} {role} message as an assistant's")

    def check_tools_shown(self, chat: Chat, text: str) -> None:
        """Raises `UnusableRow` where `text`, the prompt of `chat`, says nothing of its tools."""
        are_named = all(_name(tool) in text for tool in chat.tools or ())
        if not are_named and self._renders_alike(chat._replace(tools=None), text, generation=True):
            raise UnusableRow("the chat template does not show tools")

    def _renders_alike(self, chat: Chat, text: str, generation: bool) -> bool:
        try:
            return self.render(chat, (), generation) == text
        except UnusableRow:
            return False


def _parts_of(message: Message, last: bool) -> Iterator[tuple[str, str, Message]]:
    """Lists what a message says, in words and as text, and the message with another thing said there."""
    if content := content_text(message).strip():
        yield f"the {message['role']} message", content, {**message, "content": content + PROBE}
    for index, call in enumerate(message.get("tool_calls") or ()):
        calls = list(message["tool_calls"])
        calls[index] = _rename_call(call)
        yield "tool calls", _name(call), {**message, "tool_calls": calls}
        for name in ARGUMENTS:
            if changed_call := _change_arguments(call, name):
                changed_calls = [*message["tool_calls"][:index], changed_call, *message["tool_calls"][index + 1 :]]
                yield f"a tool call's {name!r}{HINTS.get(name, '')}", "", {**message, "tool_calls": changed_calls}
    if last and (key := next((key for key in REASONING if message.get(key)), None)):
        message_without_reasoning = {name: value for name, value in message.items() if name not in REASONING}
        yield f"an answer's {key}", str(message[key]).strip(), message_without_reasoning


def _name(tool: Mapping[str, Any]) -> str:
    function = tool.get("function")
    return str((function if isinstance(function, Mapping) else tool).get("name") or PROBE)


def _rename_call(call: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": {**call["function"], "name": PROBE}}
    return {**call, "name": PROBE}


def _change_arguments(call: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """`call` with other arguments under `key`; None where there are none, or they are no object."""
    if isinstance(call.get("function"), Mapping):
        changed_function = _change_arguments(call["function"], key)
        return None if changed_function is None else {**call, "function": changed_function}
    arguments = call.get(key)
    return {**call, key: dict.fromkeys(arguments, PROBE)} if isinstance(arguments, Mapping) and arguments else None


def _with_argument_text(call: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _with_argument_text(call["function"])}
    if isinstance(call.get("arguments"), str | None):
        return call
    return {**call, "arguments": json.dumps(call["arguments"], ensure_ascii=False)}


def _remedy(reason: str, messages: Sequence[Message]) -> str:
    if "system" not in reason.lower() or not any(message["role"] == "system" for message in messages):
        return ""
    return "; put the system turn's words into the first user turn"


def _modules_of(tokenizer: Any, inner: Any) -> Iterator[str]:
    """Modules of a template that is Python code, those that its functions come from, and what it may import as it runs."""
    code = getattr(tokenizer, "_chat_template", None)
    if code is None:
        code = next((vars(base)["apply_chat_template"] for base in type(inner).__mro__ if _renders(base)), None)
    names = getattr(code, "__globals__", {})
    if (own_module := names.get("__name__")) is not None and not own_module.startswith(
        "transformers.tokenization_utils"
    ):
        yield from (own_module, *ASKED)
        yield from {str(value.__module__) for value in names.values() if hasattr(value, "__code__")} - {own_module}


def _renders(kind: type) -> bool:
    return "apply_chat_template" in vars(kind)


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def _call(arguments: Any) -> Message:
    call = {"id": "prefdcall", "type": "function", "function": {"name": "prefdname", "arguments": arguments}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}
