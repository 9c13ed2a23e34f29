"""Describes a spec as JSON Schema, for editors: names, types, bounds, defaults, and this home's losses with their parameters.

An editor says less than `prefd validate`: what contradicts another setting, or needs the disk, only that can tell. And
what is right is never refused here: a sweep may set what the rest of its file leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from prefd.daemon.specs.catalog import Catalog, LossInfo
from prefd.daemon.specs.job_spec import JobSpec
from prefd.daemon.specs.sweep import MAX_JOBS, OWN

DRAFT = "http://json-schema.org/draft-07/schema#"  # what editors know best
BLOCKS = (
    "data",
    "training",
    "training.lora",
    "training.quantize",
    "training.qat",
    "reference",
    "output",
    "eval_samples",
)

Schema = dict[str, Any]


def build_schema(catalog: Catalog) -> Schema:
    """Builds the JSON Schema (draft 7) of a spec whose losses are the catalogue's."""
    schema = _standardize(JobSpec.model_json_schema())
    definitions: Schema = schema["$defs"]
    for name in ("LossSpec", "WeightedLossSpec"):
        weight = definitions[name]["properties"].get("weight")
        branches = [_loss_schema(loss, weight) for _, loss in sorted(catalog.losses.items())]
        definitions[name] = {"type": "object", "title": "loss", "anyOf": branches}
    properties: Schema = schema["properties"]
    properties["loss"] |= {"default": {"name": "sigmoid"}, "examples": [{"name": "ipo", "beta": 0.1}]}
    _name_reporters(properties["report_to"], catalog)
    properties["sweep"] = _sweep_schema(schema, catalog)
    required = schema.pop("required")
    return {
        "$schema": DRAFT,
        **schema,
        "title": "prefd job",
        "description": "A preference-tuning job for prefd, or a sweep of them. Without `training` it only fills the cache.",
        "if": {"required": ["sweep"]},
        "else": {"required": required, "properties": {"loss": {"anyOf": [{"type": "array"}, {"required": ["name"]}]}}},
    }


def _standardize(value: Any) -> Any:
    """Rewrites pydantic's schema in standard words: without titles that only repeat the name, and with bounds on unions."""
    if isinstance(value, list):
        return [_standardize(each) for each in value]
    if not isinstance(value, dict):
        return value
    schema = {("minimum" if key == "ge" else key): _standardize(each) for key, each in value.items()}
    if isinstance(properties := value.get("properties"), dict):
        schema["properties"] = {name: {**_standardize(each), "title": name} for name, each in properties.items()}
    return schema


def _loss_schema(loss: LossInfo, weight: Schema | None) -> Schema:
    """Describes one loss, its parameters, and in a mixture its weight."""
    params = {name: {"title": name, **_keep_finite(param)} for name, param in loss.params.items()}
    name = {"const": loss.name, "description": loss.summary}
    return {
        "title": loss.name,
        "description": loss.summary,
        "properties": {"name": name, **params} | ({} if weight is None else {"weight": weight}),
        "additionalProperties": False,
    }


def _keep_finite(param: Mapping[str, Any]) -> Schema:
    """Copies a parameter without an infinite default or bound, which mean none and which JSON does not have."""
    return {word: value for word, value in param.items() if not (isinstance(value, float) and not math.isfinite(value))}


def _name_reporters(setting: Schema, catalog: Catalog) -> None:
    """Lists the catalogue's reporters in the schema of `report_to`, so that a form and an editor offer them."""
    if catalog.reporters:
        names = {"type": "string", "enum": sorted(catalog.reporters)}
        setting["anyOf"] = [{**each, "items": names} if "items" in each else each for each in setting["anyOf"]]


def _sweep_schema(spec: Mapping[str, Any], catalog: Catalog) -> Schema:
    """Describes `sweep:`: lists of values by dotted name, or in blocks."""
    names = [name for name in spec["properties"] if name not in OWN]
    swept = dict(_list_settings(spec, catalog))
    lists = {name: {"type": "array", "minItems": 1, "items": value_schema} for name, value_schema in swept.items()}
    return {
        "type": "object",
        "title": "sweep",
        "description": f"lists of values for settings: a job for each combination, at most {MAX_JOBS}",
        "examples": [{"loss.beta": [0.05, 0.1], "loss.name": ["sigmoid", "ipo"]}],
        "minProperties": 1,
        "properties": lists,
        "patternProperties": {rf"^({'|'.join(names)})(\..+)?$": {"type": ["array", "object"], "minItems": 1}},
        "additionalProperties": False,
    }


def _list_settings(spec: Mapping[str, Any], catalog: Catalog) -> Iterator[tuple[str, Schema]]:
    """Yields each setting of a block by its dotted name, and a schema for one value of it."""
    yield "loss.name", {"enum": sorted(catalog.losses)}
    for name in sorted({param for loss in catalog.losses.values() for param in loss.params}):
        kinds = {loss.params[name]["type"] for loss in catalog.losses.values() if name in loss.params}
        yield f"loss.{name}", {"type": sorted(kinds)}
    for block in BLOCKS:
        for name, schema in _find_block(spec, block)["properties"].items():
            if not ({"$ref", "anyOf"} & schema.keys() and f"{block}.{name}" in BLOCKS):
                yield f"{block}.{name}", schema


def _find_block(spec: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Finds the definition of a block of settings by its dotted name."""
    block = spec
    for part in name.split("."):
        schema = block["properties"][part]
        choices = [schema, *schema.get("anyOf", ()), *schema.get("allOf", ())]
        reference = next(each["$ref"] for each in choices if "$ref" in each)
        block = spec["$defs"][reference.rpartition("/")[2]]
    return block
