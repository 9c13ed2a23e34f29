"""Takes a chat template apart into what it writes around each turn, which is all that other chat formats can say.

A template is a program; what it does is found by rendering chats with it, and what was found is believed only when it
gives those very texts again. A template that does more, such as one that prints the date, has no such form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefd.daemon.worker.data.prompts import Prompter
from prefd.daemon.worker.data.template import Chat
from prefd.plugins.types import Message, UnusableRow

SYSTEM, USER, ANSWER, SECOND = "prefdsystem", "prefduser", "prefdanswer", "prefdsecond"


class NoTurns(ValueError):
    """NoTurns is raised for a chat template that writes more than something before and after each turn; it says what."""


@dataclass(frozen=True)
class Around:
    """Around holds what is written before and after one turn's words."""

    before: str
    after: str


@dataclass(frozen=True)
class TurnsTemplate:
    """TurnsTemplate is a chat template as text around turns."""

    system: Around | None
    """None where the template has no turn for a system."""
    user: Around
    assistant: Around
    generation: str
    """What stands before the answer that is to be written."""
    default_system: str | None
    """The system's words where a chat has none of its own."""

    def render(self, chat: Sequence[Message]) -> str:
        """Render a chat that an answer is to follow."""
        turns: list[Message] = list(chat)
        if turns[0]["role"] != "system" and self.default_system is not None:
            turns = [{"role": "system", "content": self.default_system}, *turns]
        texts = []
        for turn in turns:
            around: Any = getattr(self, turn["role"])
            texts.append(f"{around.before}{turn['content']}{around.after}")
        return "".join(texts) + self.generation


def take_apart(prompter: Prompter) -> TurnsTemplate:
    """Take the chat template of `prompter` apart. Raises `NoTurns` where it does more than what this form can say."""
    if not prompter.is_chat:
        raise NoTurns("the model has no chat template")
    system, user, answer, second = (
        {"role": role, "content": text}
        for role, text in (("system", SYSTEM), ("user", USER), ("assistant", ANSWER), ("user", SECOND))
    )
    bos = prompter.template.bos

    def render(*chat: Message, generation: bool = True) -> str:
        try:
            return prompter.template.render(Chat(chat), add_generation_prompt=generation).removeprefix(bos or "")
        except UnusableRow as reason:
            raise NoTurns(str(reason)) from reason

    alone, bare = render(user), render(user, generation=False)
    if not alone.startswith(bare):
        raise NoTurns("it writes the question otherwise when an answer is to follow")
    generation = alone[len(bare) :]
    chats = [[user], [user, answer, second]]
    longer = render(*chats[1])
    head, user_after = _split(bare, USER)
    before_answer, rest = _split(longer, ANSWER)
    between, _ = _split(rest, SECOND)
    assistant_before = before_answer[len(head) + len(USER) + len(user_after) :]
    _, answer_after = _split(render(user, answer, generation=False), ANSWER)
    if not between.startswith(answer_after):
        raise NoTurns("it ends the last answer otherwise than those before")
    user_before = between.removeprefix(answer_after)
    with_system = _render_or_none(render, system, user)
    if with_system is None:
        turns = TurnsTemplate(None, Around(head, user_after), Around(assistant_before, answer_after), generation, None)
    else:
        chats.append([system, user])
        system_before, rest = _split(with_system, SYSTEM)
        middle, _ = _split(rest, USER)
        around = Around(system_before, middle.removesuffix(user_before))
        opening = head.removesuffix(user_before)
        default = opening.removeprefix(around.before).removesuffix(around.after) if opening else None
        turns = TurnsTemplate(
            around, Around(user_before, user_after), Around(assistant_before, answer_after), generation, default
        )
    if prompter.template.prints_date or any(turns.render(chat) != render(*chat) for chat in chats):
        raise NoTurns("it writes more than something before and after each turn")
    return turns


def _split(text: str, words: str) -> tuple[str, str]:
    before, separator, after = text.partition(words)
    if not separator:
        raise NoTurns("it does not write a turn's words as they are")
    return before, after


def _render_or_none(render: Any, *chat: Message) -> str | None:
    try:
        text: str = render(*chat)
    except NoTurns:
        return None
    return text if SYSTEM in text else None
