"""What a spec may say about the chat template: the moment that templates print, and the arguments that are theirs to take."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime

TODAY = "today"
DEFAULT_DATE = "2024-07-26"
"""The day that Llama 3's own template prints where it is given no clock. The same for all jobs, so that what one job has
scored another finds in the cache, whenever it runs."""
EXPECTED = f"expected a date such as {DEFAULT_DATE}, a date and time such as {DEFAULT_DATE}T09:30, or {TODAY}"
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
        "sanitize_control_tokens",
        "tokenizer_kwargs",
        "processor_kwargs",
    ]
)
"""Arguments of `apply_chat_template` that are not the template's, and not a dataset's to set."""


def parse_date(text: str, today: date | None = None) -> datetime:
    """The moment that `text` names, without a time zone. Raises ValueError with what was expected."""
    if text == TODAY:
        return datetime.combine(today or date.today(), datetime.min.time())
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(EXPECTED) from None
    if moment.tzinfo is not None:
        raise ValueError("a chat template prints the time of no zone; leave the offset out")
    return moment


def describe_reserved(names: Iterable[str]) -> str | None:
    """What is wrong with template arguments of these `names`; None where nothing is."""
    reserved = RESERVED & set(names)
    return f"may not set {', '.join(sorted(reserved))}" if reserved else None
