"""The tables of docs/spec-reference.md: every setting of a spec, from its JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markup import bounds, code, part, table
from reference import own_plugins

from prefd.daemon.specs.catalog import Catalog
from prefd.daemon.specs.json_schema import build_schema

BLOCKS = {
    "": "Which job, of which model",
    "reference": "The frozen model, where it is not a copy of where the policy starts",
    "data": "The pairs",
    "data.path[]": "One dataset of several: an entry of `data.path`, where that is a list",
    "loss": "One loss",
    "training": "How the policy is trained",
    "training.lora": "The adapter",
    "training.quantize": "Quantization of the policy's weights at load",
    "training.qat": "Training for being quantized afterwards",
    "training.lr_schedule": "The learning rate by step",
    "training.best_checkpoint": "Which checkpoint is kept besides the newest",
    "training.early_stopping": "When to end before the last step",
    "output": "What is written besides the adapter",
    "eval_samples": "Which answers are drawn while the policy trains",
}
"""Each block of a spec by its place, and its heading's first sentence."""


def spec_blocks() -> str:
    """Every setting of a spec, a table for each block, from the JSON Schema that `prefd schema` prints."""
    schema = build_schema(Catalog.from_json(own_plugins().to_json()))
    return part("\n".join(_spec_block(schema, place, title) for place, title in BLOCKS.items()))


def _spec_block(schema: Mapping[str, Any], place: str, title: str) -> str:
    block = _definition(schema, place)
    if place == "loss":
        text = "`name`, and that loss's own parameters; in a list of losses also `weight` (default `1`). See [Losses](losses.md).\n"
        return f"## `loss`\n\n{title}: {text}"
    required = set(block.get("required", ())) | ({"model", "data"} if place == "" else set())
    rows = [
        (f"`{name}`", _type_of(schema, each, place, name), _default_of(each, name in required), _meaning_of(each))
        for name, each in block["properties"].items()
        if not (place == "" and name == "sweep")
    ]
    heading = f"## `{place}`" if place else "## The top"
    return f"{heading}\n\n{title}.\n\n" + table(["setting", "type", "default", "what it is"], rows)


def _definition(schema: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    node: Mapping[str, Any] = schema
    for step in filter(None, place.split(".")):
        name = step.removesuffix("[]")
        target = next(
            each["$ref"]
            for each in _choices(node["properties"][name])
            if "$ref" in each and not each["$ref"].endswith("/WeightedLossSpec")
        )
        node = schema["$defs"][target.rpartition("/")[2]]
    return node


def _choices(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """`schema` and every schema within its alternatives and lists."""
    yield schema
    for key in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(key, ()):
            yield from _choices(each)
    if isinstance(items := schema.get("items"), dict):
        yield from _choices(items)


def _type_of(schema: Mapping[str, Any], value: Mapping[str, Any], place: str, name: str) -> str:
    words = [word for word in dict.fromkeys(_types(value, f"{place}.{name}".lstrip("."))) if word != "null"]
    return " or ".join(words)


def _types(value: Mapping[str, Any], place: str) -> Iterator[str]:
    for key in ("anyOf", "oneOf", "allOf"):
        for each in value.get(key, ()):
            yield from _types(each, place)
    if "$ref" in value:
        own = {"data.path": "data.path[]"}.get(place, place)
        yield f"[block](#{slug(own)})" if own in BLOCKS else "block"
    elif "enum" in value:
        yield ", ".join(f"`{each}`" for each in value["enum"])
    elif "const" in value:
        yield f"`{value['const']}`"
    elif value.get("type") == "array":
        yield f"list of {' or '.join(dict.fromkeys(_types(value.get('items', {}), place))) or 'anything'}"
    elif "type" in value:
        yield " ".join([{"object": "mapping"}.get(value["type"], value["type"]), *bounds(value)])


def slug(place: str) -> str:
    """The anchor of a block's heading."""
    return place.replace(".", "").replace("[]", "")


def _default_of(value: Mapping[str, Any], required: bool) -> str:
    if required:
        return "required"
    return "" if isinstance(value.get("default"), dict) and value["default"] else code(value.get("default"))


def _meaning_of(value: Mapping[str, Any]) -> str:
    examples = value.get("examples") or []
    sentence = "; for example " + ", ".join(code(each) for each in examples) if examples else ""
    return str(value.get("description", "")) + sentence
