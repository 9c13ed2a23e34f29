"""Reads what a chat message says beside its role and content: whether it is to be learned, and what it brings that is no text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefd.plugins.types import UnusableRow

LEARNED = ("train", "training", "trainable", "loss", "learn")
"""What other trainers call OpenAI's `weight`: axolotl, ms-swift and the like."""
MASKS = ("mask", "masked")
"""Of these nobody knows whether true is what is learned or what is left out."""
MEDIA = {"image": "an image", "audio": "audio", "video": "a video", "file": "a file", "attachment": "a file"}
"""Words of the keys that bring what is no text, in words."""
UNTOLD = frozenset(
    [
        "role",
        "content",
        "tool_calls",
        "tool_call_id",
        "weight",
        "reasoning_content",
        "thinking",
        "reasoning",
        "id",
        "index",
        "type",
    ]
)
"""Keys of which nobody needs to hear that the chat template does not read them."""


def with_weight(message: dict[str, Any]) -> dict[str, Any]:
    """Puts what says that a turn is to be learned into `weight`, as OpenAI has it.

    Raises `UnusableRow` where that is not certain.
    """
    flags = {key: message[key] for key in LEARNED if isinstance(message.get(key), bool)}
    if mask := next((key for key in MASKS if message.get(key) is not None), None):
        raise UnusableRow(f"a message's {mask!r} may say that it is not learned: write 'weight', 0 or 1, in its place")
    if not flags or message["role"] != "assistant":
        return message
    weights = {int(is_learned) for is_learned in flags.values()} | {message.get("weight", int(all(flags.values())))}
    if len(weights) > 1:
        raise UnusableRow(f"a message's {' and '.join([*flags, 'weight'])} disagree on whether it is learned")
    return {key: item for key, item in message.items() if key not in flags} | {"weight": weights.pop()}


def check_no_media(message: Mapping[str, Any]) -> None:
    """Raises `UnusableRow` for a message that brings an image, a sound or a file beside its content."""
    for key, item in message.items():
        words = {word.removesuffix("s") for word in key.lower().split("_")}
        medium = next((name for word, name in MEDIA.items() if word in words), None)
        if medium and item and not isinstance(item, bool):
            raise UnusableRow(f"{medium} in a message's {key!r}; prefd trains on text")


def check_no_tools(message: Mapping[str, Any]) -> None:
    """Raises `UnusableRow` for tools in a message, where no chat template looks for them."""
    for key in ("tools", "functions"):
        if message.get(key):
            raise UnusableRow(f"a message's {key!r} are not read there: put them into a column 'tools'")
