"""A PEFT config that puts its adapter elsewhere than its tensors are is refused, and one that says the same is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prefd.daemon.specs.adapter_config import AdapterConfig
from prefd.daemon.worker.errors import JobError
from prefd.daemon.worker.models.peft_targets import check_targets, find_missing_targets

QUERIES = [f"model.layers.{layer}.self_attn.q_proj" for layer in range(3)]
MODULES = [*QUERIES, "lm_head"]


def config(**settings: Any) -> AdapterConfig:
    return AdapterConfig(Path("./peft"), True, "lora", None, {}, {"peft_type": "LORA"} | settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"target_modules": ["q_proj"]},
        {"target_modules": ["self_attn.q_proj", "v_proj"]},
        {"target_modules": r".*\.self_attn\.q_proj"},
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj"], "exclude_modules": ["v_proj"]},
        {"layers_to_transform": [0, 1, 2]},
        {"layers_to_transform": [0, 1, 2], "layers_pattern": "layers"},
        {"layers_to_transform": [0, 1, 2], "layers_pattern": ["h", "layers"]},
        {"layers_to_transform": [], "layers_pattern": "h"},
        {"layers_to_transform": None, "layers_pattern": None},
    ],
    ids=str,
)
def test_a_config_that_says_where_the_tensors_are_is_taken(settings: dict[str, Any]) -> None:
    """It is taken where nothing is raised."""
    check_targets(config(**settings), QUERIES)


@pytest.mark.parametrize(
    ("settings", "named", "module"),
    [
        ({"target_modules": ["v_proj", "o_proj"]}, "target_modules [v_proj, o_proj]", QUERIES[0]),
        ({"target_modules": ".*layers.1.*"}, 'target_modules ".*layers.1.*"', QUERIES[0]),
        ({"target_modules": ["proj"]}, "target_modules [proj]", QUERIES[0]),
        ({"exclude_modules": ["q_proj"]}, "exclude_modules [q_proj]", QUERIES[0]),
        ({"layers_to_transform": [0, 1]}, "layers_to_transform [0, 1]", QUERIES[2]),
        ({"layers_to_transform": 2}, "layers_to_transform 2", QUERIES[0]),
        ({"layers_to_transform": [0, 1, 2], "layers_pattern": "h"}, 'layers_pattern "h"', QUERIES[0]),
    ],
    ids=str,
)
def test_tensors_that_peft_would_pass_over_are_refused(settings: dict[str, Any], named: str, module: str) -> None:
    with pytest.raises(JobError) as caught:
        check_targets(config(**settings), QUERIES)
    assert str(caught.value) == (
        f"adapter peft has {named} in its adapter_config.json, by which PEFT would not put it on {module}, and its file has "
        f"tensors for that; write {named.partition(' ')[0]} as it was when it was trained, or save it again"
    )


def test_a_module_outside_the_layers_is_none_of_those_to_transform() -> None:
    with pytest.raises(JobError, match=r"layers_to_transform \[0, 1, 2\].*would not put it on lm_head"):
        check_targets(config(layers_to_transform=[0, 1, 2]), MODULES)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"target_modules": "("}, "it must be names of modules, or a pattern"),
        ({"target_modules": [1]}, "it must be names of modules, or a pattern"),
        ({"layers_to_transform": ["0"]}, "it must be a layer's number or a list of some"),
        ({"layers_to_transform": [0], "layers_pattern": 5}, "it must be the name of the list of layers, or several"),
    ],
    ids=str,
)
def test_a_setting_that_is_none_is_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(JobError, match=expected):
        check_targets(config(**settings), QUERIES)


def test_what_a_config_lists_and_has_no_tensors_for_is_found() -> None:
    listed = config(target_modules=["q_proj", "v_proj"], layers_to_transform=[1, 2, 3])
    assert find_missing_targets(listed, QUERIES) == ["v_proj", "layer 3"]
    assert find_missing_targets(config(target_modules="all-linear"), QUERIES) == []
