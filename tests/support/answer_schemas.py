"""Real answers are compared with what an OpenAPI document says of them."""

from __future__ import annotations

import copy
from typing import Any

from jsonschema import Draft202012Validator


def close_schemas(document: dict[str, Any]) -> dict[str, Any]:
    """The same, where no field may be there that it does not name."""

    def close(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("type") == "object" and "properties" in node:
                node.setdefault("additionalProperties", False)
            for each in node.values():
                close(each)
        elif isinstance(node, list):
            for each in node:
                close(each)

    closed = copy.deepcopy(document)
    close(closed["components"])
    return closed


def check_answer(described: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    whole = {**schema, "components": close_schemas(described)["components"]}
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(whole).iter_errors(value)]
    assert errors == []
