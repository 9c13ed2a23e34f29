"""A flat config of mlx-lm-lora is known by its settings, and gives a spec or a spec error whatever they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefd.daemon.specs.mlx_lm_lora.flat_config import is_flat
from prefd.daemon.specs.mlx_lm_lora.settings import KNOWN
from prefd.daemon.specs.reading import read_specs
from prefd.daemon.specs.spec_error import SpecError
from support import fake_worker


@pytest.mark.parametrize(
    ("value", "flat"),
    [
        ({"train_mode": "dpo"}, True),
        ({"data": "d", "lora_parameters": {}}, True),
        ({"data": "d", "model": "m"}, False),
        ({"data": {"path": "d"}, "lora_parameters": {}}, False),
        ({"data": "d", "training": {}, "train_type": "lora"}, False),
    ],
    ids=str,
)
def test_a_flat_config_is_known_by_its_settings(value: dict[str, Any], flat: bool) -> None:
    assert is_flat(value) is flat


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.floats(-1, 1)
    | st.sampled_from(["", "x", "cpo", "dpop", "adamw"])
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(KNOWN), SCALARS | st.lists(SCALARS, max_size=1) | st.dictionaries(st.just("adamw"), SCALARS)
    )
)
def test_any_values_give_a_spec_or_a_spec_error(value: dict[str, Any]) -> None:
    text = json.dumps(value | {"train_mode": value.get("train_mode", "dpo")}).encode()
    lines: tuple[str, ...] = ()
    try:
        assert read_specs(text, "x.json", fake_worker.catalog()).spec
    except SpecError as error:
        lines = error.lines
    assert all(line.startswith("x.json: ") and line.isprintable() for line in lines)
